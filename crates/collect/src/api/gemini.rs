//! Gemini `generateContent` request and response pairs, turned into chat bodies.
//!
//! Source: ai.google.dev API reference, `GenerateContentRequest`, `Content`, `Part`, `GenerateContentResponse`. The model stands in the
//! address of a request, not in its body, so it is taken from the row or the answer's `modelVersion`. Function calls seldom have ids:
//! an answer to one is found by its name, first called first answered.
use record::Call;
use serde_json::{Map, Value, json};

use super::chat::{self, Said, is_empty, tool_call};
use super::openai::check_messages;
use crate::fault::Fault;
use crate::format::Shape;
use crate::pair::{self, mark};
use crate::row::kind;

pub struct Gemini;

impl Shape for Gemini {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let has = |body: &str, key: &str| row.get(body).is_some_and(|body| body.get(key).is_some_and(Value::is_array));
        has("request", "contents") && row.contains_key("response")
    }

    fn read(&self, mut row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        pair::model_into_request(&mut row, &["model"]);
        Ok(vec![pair::read(row, normalise)?])
    }
}

fn normalise(request: Map<String, Value>, response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<(Value, Value), Fault> {
    // calls are numbered through a conversation, so the answer's come after those of the request
    let called = request.get("contents").map_or(0, calls);
    let response = completion(response, called, lossy)?;
    let request = chat(request, lossy)?;
    mark(lossy, "model", !request.contains_key("model") && response.get("model").is_none());
    Ok((Value::Object(request), response))
}

/// The first of two spellings that is there: the REST interface takes both.
fn either(body: &mut Map<String, Value>, keys: [&str; 2]) -> Option<Value> {
    keys.iter().find_map(|key| body.shift_remove(*key)).filter(|value| !value.is_null())
}

fn chat(mut request: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Map<String, Value>, Fault> {
    let mut messages = Messages::default();
    if let Some(system) = either(&mut request, ["systemInstruction", "system_instruction"]) {
        let text = system.as_str().map_or_else(|| chat::texts(system["parts"].as_array().into_iter().flatten()), ToOwned::to_owned);
        messages.said.push(json!({"role": "system", "content": text}));
    }
    let Some(Value::Array(contents)) = request.shift_remove("contents") else {
        return Err(Fault::new("request.contents", "there are none", "log the contents that were sent"));
    };
    for (at, content) in contents.iter().enumerate() {
        messages.add(content, &format!("request.contents[{at}]"), lossy)?;
    }
    let mut said = Value::Array(messages.said);
    check_messages(Some(&mut said), "request.contents", lossy)?;
    let mut chat = chat::request(request.shift_remove("model"), said);
    if let Some(Value::Array(groups)) = request.shift_remove("tools") {
        let mut tools = Vec::new();
        for group in groups {
            let Value::Object(mut group) = group else { continue };
            match either(&mut group, ["functionDeclarations", "function_declarations"]) {
                Some(Value::Array(functions)) => tools.extend(functions.into_iter().map(tool)),
                _ => mark(lossy, "tools", true),
            }
        }
        if !tools.is_empty() {
            chat.insert("tools".to_owned(), tools.into());
        }
    }
    if let Some(config) = either(&mut request, ["toolConfig", "tool_config"]) {
        let config = config.get("functionCallingConfig").or_else(|| config.get("function_calling_config")).unwrap_or(&Value::Null);
        let choice = match config["mode"].as_str() {
            Some("ANY") => "required",
            Some("NONE") => "none",
            _ => "auto",
        };
        chat.insert("tool_choice".to_owned(), choice.into());
    }
    if let Some(Value::Object(config)) = either(&mut request, ["generationConfig", "generation_config"]) {
        parameters(config, &mut chat);
    }
    chat.extend(request);
    Ok(chat)
}

/// Settings under the names that OpenAI has for them; the rest stays.
fn parameters(mut config: Map<String, Value>, chat: &mut Map<String, Value>) {
    let names = [
        (["temperature", "temperature"], "temperature"),
        (["topP", "top_p"], "top_p"),
        (["maxOutputTokens", "max_output_tokens"], "max_tokens"),
        (["stopSequences", "stop_sequences"], "stop"),
        (["candidateCount", "candidate_count"], "n"),
        (["seed", "seed"], "seed"),
    ];
    for (keys, name) in names {
        if let Some(value) = either(&mut config, keys) {
            chat.insert(name.to_owned(), value);
        }
    }
    let schema = either(&mut config, ["responseSchema", "response_schema"]).map(|mut schema| {
        lower_types(&mut schema);
        schema
    });
    let schema = schema.or_else(|| either(&mut config, ["responseJsonSchema", "response_json_schema"]));
    let json = either(&mut config, ["responseMimeType", "response_mime_type"]).is_some_and(|kind| kind == "application/json");
    if let Some(schema) = schema {
        chat.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}));
    } else if json {
        chat.insert("response_format".to_owned(), json!({"type": "json_object"}));
    }
    if !config.is_empty() {
        chat.insert("generation_config".to_owned(), config.into());
    }
}

fn tool(function: Value) -> Value {
    let Value::Object(mut function) = function else { return Value::Null };
    let plain = either(&mut function, ["parametersJsonSchema", "parameters_json_schema"]);
    let schema = plain.or_else(|| {
        let mut schema = function.shift_remove("parameters")?;
        lower_types(&mut schema);
        Some(schema)
    });
    if let Some(schema) = schema {
        function.insert("parameters".to_owned(), schema);
    }
    json!({"type": "function", "function": function})
}

/// Types of a schema as JSON schema spells them: Gemini writes `OBJECT`.
fn lower_types(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(name) if key == "type" => *name = name.to_ascii_lowercase(),
                    other => lower_types(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(lower_types),
        _ => {}
    }
}

/// Messages so far, and the calls among them that nothing has answered yet, with their names.
#[derive(Default)]
struct Messages {
    said: Vec<Value>,
    open: Vec<(String, String)>,
    calls: usize,
}

impl Messages {
    /// Adds the messages of one content.
    fn add(&mut self, content: &Value, path: &str, lossy: &mut Vec<String>) -> Result<(), Fault> {
        let parts = match content.get("parts") {
            Some(Value::Array(parts)) => parts.as_slice(),
            None | Some(Value::Null) => &[],
            Some(other) => {
                let problem = format!("it is {}, expected a list of parts", kind(other));
                return Err(Fault::new(format!("{path}.parts"), problem, "log the parts that were sent"));
            }
        };
        if content.get("role").and_then(Value::as_str) == Some("model") {
            let message = self.answer(parts, lossy);
            self.said.push(message);
            return Ok(());
        }
        let (answers, rest): (Vec<_>, Vec<_>) = parts.iter().partition(|part| function_response(part).is_some());
        for answer in answers.into_iter().filter_map(function_response) {
            let name = answer["name"].as_str().unwrap_or_default();
            let known = self.open.iter().position(|(id, of)| answer["id"].as_str().map_or(of == name, |asked| asked == id));
            let id = known.map(|at| self.open.remove(at).0);
            let said = answer.get("response").map_or_else(String::new, ToString::to_string);
            self.said.push(json!({"role": "tool", "tool_call_id": id, "name": name, "content": said}));
        }
        if !rest.is_empty() {
            self.said.push(json!({"role": "user", "content": chat::content(&rest, lossy)}));
        }
        Ok(())
    }

    /// The assistant's message that parts make.
    fn answer(&mut self, parts: &[Value], lossy: &mut Vec<String>) -> Value {
        let mut said = Said::default();
        for part in parts {
            if let Some(call) = function_call(part) {
                let name = call["name"].as_str().unwrap_or_default().to_owned();
                let id = call["id"].as_str().map_or_else(|| format!("call-{}", self.calls), ToOwned::to_owned);
                self.calls += 1;
                let arguments = call.get("args").filter(|args| !args.is_null()).map_or_else(|| "{}".to_owned(), ToString::to_string);
                said.calls.push(tool_call(id.clone(), name.clone(), arguments));
                self.open.push((id, name));
            } else if let Some(more) = part.get("text").and_then(Value::as_str) {
                if part["thought"] == true { &mut said.thoughts } else { &mut said.text }.push_str(more);
            } else {
                mark(lossy, "blocks", part.get("thoughtSignature").is_none());
            }
        }
        said.message()
    }
}

/// Function calls of contents.
fn calls(contents: &Value) -> usize {
    let parts = contents.as_array().into_iter().flatten().filter_map(|content| content["parts"].as_array()).flatten();
    parts.filter(|part| function_call(part).is_some()).count()
}

fn function_call(part: &Value) -> Option<&Value> {
    part.get("functionCall").or_else(|| part.get("function_call"))
}

fn function_response(part: &Value) -> Option<&Value> {
    part.get("functionResponse").or_else(|| part.get("function_response"))
}

/// The reply as a chat completion; candidates beyond the first stay for the teacher's agreement with itself.
fn completion(mut response: Map<String, Value>, called: usize, lossy: &mut Vec<String>) -> Result<Value, Fault> {
    let Some(Value::Array(candidates)) = response.shift_remove("candidates") else {
        let blocked = response.get("promptFeedback").and_then(|feedback| feedback["blockReason"].as_str());
        let problem = blocked.map_or_else(|| "there are none".to_owned(), |reason| format!("the prompt was blocked: {reason}"));
        return Err(Fault::new("response.candidates", problem, "drop calls that got no answer"));
    };
    let mut choices = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let parts = candidate["content"]["parts"].as_array().map_or(&[] as &[_], Vec::as_slice);
        let message = Messages { calls: called, ..Messages::default() }.answer(parts, lossy);
        let called = message.get("tool_calls").is_some();
        let finish = match candidate["finishReason"].as_str() {
            Some("STOP") if called => "tool_calls".into(),
            Some("STOP") => "stop".into(),
            Some("MAX_TOKENS") => "length".into(),
            Some("SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII") => "content_filter".into(),
            other => other.map_or(Value::Null, |other| other.to_ascii_lowercase().into()),
        };
        choices.push(json!({"index": index, "finish_reason": finish, "message": message}));
    }
    if choices.first().is_none_or(|choice| is_empty(&choice["message"])) {
        let finish = choices.first().and_then(|choice| choice["finish_reason"].as_str()).unwrap_or("none");
        let problem = format!("the answer holds neither text nor function calls (finish reason: {finish})");
        return Err(Fault::new("response.candidates", problem, "nothing to cure: an empty answer teaches nothing"));
    }
    let usage = response.get("usageMetadata").filter(|usage| usage.is_object()).map(|usage| {
        let count = |key: &str| usage[key].as_u64().unwrap_or_default();
        let thought = count("thoughtsTokenCount");
        let mut tokens = chat::usage(count("promptTokenCount") + count("toolUsePromptTokenCount"), count("candidatesTokenCount") + thought);
        tokens["prompt_tokens_details"] = json!({"cached_tokens": count("cachedContentTokenCount")});
        tokens["completion_tokens_details"] = json!({"reasoning_tokens": thought});
        tokens
    });
    let names = [("responseId", "id"), ("createTime", "created"), ("modelVersion", "model")];
    Ok(chat::completion(&mut response, &names, choices.into(), usage))
}
