//! Messages as frameworks and tracers write them down, turned into chat messages: objects of LangChain, parts of the AI SDK, of
//! OpenTelemetry, Anthropic, Gemini and Bedrock, roles in any case. Knows no body around them.
//!
//! Sources: LangChain `load` and `messages_to_dict`; Vercel AI SDK `ModelMessage`; OpenTelemetry `gen-ai-input-messages.json`.
use serde_json::{Map, Value, json};

use super::chat::{self, Said, tool_call};
use crate::fault::Fault;
use crate::pair::mark;
use crate::row::{kind, parsed};

/// Messages in the order of a conversation: a list, a list in a list, one alone, or a user's text.
pub fn messages(value: Value, path: &str, lossy: &mut Vec<String>) -> Result<Vec<Value>, Fault> {
    match parsed(value) {
        Value::String(text) => Ok(vec![json!({"role": "user", "content": text})]),
        Value::Array(mut list) if list.len() == 1 && list[0].is_array() => messages(list.swap_remove(0), path, lossy),
        Value::Array(list) => {
            let mut messages = Vec::new();
            for (at, value) in list.into_iter().enumerate() {
                message(value, &format!("{path}[{at}]"), &mut messages, lossy)?;
            }
            Ok(messages)
        }
        value @ Value::Object(_) => {
            let mut messages = Vec::new();
            message(value, path, &mut messages, lossy)?;
            Ok(messages)
        }
        other => Err(Fault::new(path, format!("it is {}, expected messages", kind(&other)), "log the messages that were sent")),
    }
}

/// What a model said, as a completion: one already, the choices of one, generations of LangChain, messages of which the last one is the
/// answer, a message, or its text.
pub fn answer(value: Value, path: &str, lossy: &mut Vec<String>) -> Result<Map<String, Value>, Fault> {
    let choices = match opened(value) {
        Value::Array(list) => alternatives(list, path, lossy)?,
        Value::Object(mut body) if wrapper(&body).is_some() => {
            let key = wrapper(&body).unwrap_or_default();
            let inner = body.shift_remove(key).unwrap_or_default();
            let inner = if key == "messages" { last(inner) } else { inner };
            return answer(inner, &format!("{path}.{key}"), lossy);
        }
        Value::Object(body) if body.get("choices").is_some_and(|choices| choices[0].is_object()) => return Ok(body),
        Value::Object(body) if is_message(&body) => spoken(Value::Object(body), path, lossy)?,
        Value::String(text) => vec![json!({"role": "assistant", "content": text})],
        // an answer in JSON, parsed by whoever logged it
        Value::Object(body) if !body.is_empty() => vec![json!({"role": "assistant", "content": Value::Object(body).to_string()})],
        other => return Err(Fault::new(path, format!("it is {}, expected an answer", kind(&other)), "drop calls that got no answer")),
    };
    let choice = |(index, mut message): (usize, Value)| {
        let finish = message.as_object_mut().and_then(|fields| fields.shift_remove("finish_reason"));
        json!({"index": index, "finish_reason": finish.as_ref().map(chat::finish), "message": message})
    };
    let choices: Vec<Value> = choices.into_iter().enumerate().map(choice).collect();
    Ok(Map::from_iter([("object".to_owned(), "chat.completion".into()), ("choices".to_owned(), choices.into())]))
}

/// Text that holds what a log writes around an answer, as what it holds. The answer itself may be JSON too, and stays text.
pub fn opened(value: Value) -> Value {
    if !value.is_string() {
        return value;
    }
    let inside = parsed(value.clone());
    let choices = |body: &Map<String, Value>| body.get("choices").is_some_and(|choices| choices[0].is_object());
    let around = match &inside {
        Value::Object(body) => choices(body) || body.contains_key("generations") || is_message(body),
        Value::Array(list) => {
            let message =
                |value: &Value| value.as_object().is_some_and(|body| body.get("message").is_some_and(Value::is_object) || is_message(body));
            !list.is_empty() && list.iter().all(|value| message(value) || value.as_array().is_some_and(|list| list.iter().all(message)))
        }
        _ => false,
    };
    if around { inside } else { value }
}

/// The field in which an object carries the answer.
fn wrapper(body: &Map<String, Value>) -> Option<&'static str> {
    if is_message(body) {
        return None;
    }
    let has = |key: &&str| body.get(*key).is_some_and(|value| !value.is_null());
    let inside = |key: &&str| body.get(*key).is_some_and(|value| value.is_array() || value.is_object());
    let alone = ["output", "text", "completion"].into_iter().find(|key| body.len() == 1 && has(key));
    ["generations", "messages", "message"].into_iter().find(inside).or(alone)
}

/// Whether an object is a message, or what a framework writes for one.
fn is_message(body: &Map<String, Value>) -> bool {
    let has = |key: &str| body.contains_key(key);
    let said = has("content") || has("parts") || has("tool_calls") || has("data");
    has("kwargs") || has("lc") || (said && (has("role") || body.get("type").and_then(Value::as_str).and_then(role).is_some()))
}

/// The last message of the model among some.
fn last(messages: Value) -> Value {
    match messages {
        Value::Array(list) => list.into_iter().rfind(|message| !is_of_others(message)).unwrap_or_default(),
        other => other,
    }
}

/// Whether a message says that it is from anyone but the model.
fn is_of_others(message: &Value) -> bool {
    message.as_object().and_then(role_of).is_some_and(|role| role != "assistant")
}

/// Answers that stand beside one another: choices, LangChain's generations in their two lists, or messages.
fn alternatives(mut list: Vec<Value>, path: &str, lossy: &mut Vec<String>) -> Result<Vec<Value>, Fault> {
    if let [Value::Array(inner)] = list.as_mut_slice() {
        return alternatives(std::mem::take(inner), path, lossy);
    }
    let list = if list.iter().any(is_of_others) { vec![last(list.into())] } else { list };
    let mut answers = Vec::new();
    for (at, mut value) in list.into_iter().enumerate() {
        let finish = finish_of(&value);
        let inner = value.get_mut("message").filter(|message| message.is_object()).map(Value::take);
        for mut message in spoken(inner.unwrap_or(value), &format!("{path}[{at}]"), lossy)? {
            if let Some(finish) = &finish {
                message["finish_reason"] = finish.clone();
            }
            answers.push(message);
        }
    }
    Ok(answers)
}

/// Why an answer ended, wherever a framework keeps it.
fn finish_of(value: &Value) -> Option<Value> {
    let places = [
        "/finish_reason",
        "/finishReason",
        "/generation_info/finish_reason",
        "/message/kwargs/response_metadata/finish_reason",
        "/message/kwargs/response_metadata/stop_reason",
    ];
    places.iter().find_map(|place| value.pointer(place).filter(|reason| reason.is_string()).cloned())
}

/// An assistant's message, whoever it says it is from.
pub fn spoken(value: Value, path: &str, lossy: &mut Vec<String>) -> Result<Vec<Value>, Fault> {
    let mut value = match value {
        Value::String(text) => json!({"content": text}),
        other => other,
    };
    if let Some(fields) = value.as_object_mut()
        && !fields.contains_key("lc")
        && !fields.contains_key("kwargs")
    {
        if !["content", "parts", "tool_calls", "data", "toolCalls"].iter().any(|key| fields.contains_key(*key))
            && let Some(text) = fields.get("text").cloned()
        {
            fields.insert("content".to_owned(), text);
        }
        fields.insert("role".to_owned(), "assistant".into());
    }
    let mut messages = Vec::new();
    message(value, path, &mut messages, lossy)?;
    Ok(messages)
}

/// Adds what one message becomes: several, where it holds results of several tools.
fn message(value: Value, path: &str, messages: &mut Vec<Value>, lossy: &mut Vec<String>) -> Result<(), Fault> {
    let Value::Object(fields) = value else {
        let text = value.as_str().map(|text| json!({"role": "user", "content": text}));
        let fault = || Fault::new(path, format!("it is {}, expected a message", kind(&value)), "log the messages that were sent");
        messages.push(text.ok_or_else(fault)?);
        return Ok(());
    };
    let (role, mut fields) = unwrapped(fields);
    let Some(role) = role else {
        return Err(Fault::new(format!("{path}.role"), "there is none", "log each message with its role"));
    };
    let mut found = Found { role, said: Said::default(), media: Vec::new(), results: Vec::new(), lossy };
    let content = ["content", "parts", "contents"].iter().find_map(|key| fields.shift_remove(*key).filter(|value| !value.is_null()));
    match content {
        None => {}
        Some(Value::Array(parts)) => parts.into_iter().for_each(|part| found.part(part)),
        Some(Value::String(text)) => found.said.text = text,
        Some(part @ Value::Object(_)) => found.part(part),
        Some(other) => found.said.text = other.to_string(),
    }
    let more = fields.get_mut("additional_kwargs").and_then(|more| more.get_mut("tool_calls")).map(Value::take);
    let calls = ["tool_calls", "toolCalls"].iter().find_map(|key| fields.shift_remove(*key)).map(parsed);
    let calls = calls.filter(|calls| calls.as_array().is_some_and(|list| !list.is_empty())).or(more);
    for call in calls.iter().filter_map(Value::as_array).flatten() {
        found.call(call);
    }
    found.finish(fields, messages);
    Ok(())
}

/// The role of a message and its fields, taken out of what a framework wraps around them.
fn unwrapped(mut fields: Map<String, Value>) -> (Option<&'static str>, Map<String, Value>) {
    let role = role_of(&fields);
    let inner = ["kwargs", "data"].iter().find_map(|key| match fields.get_mut(*key).map(Value::take) {
        Some(Value::Object(inner)) => Some(inner),
        _ => None,
    });
    (role, inner.unwrap_or(fields))
}

/// The role of a message, wherever a framework writes it.
fn role_of(fields: &Map<String, Value>) -> Option<&'static str> {
    let text = |fields: &Map<String, Value>, key: &str| fields.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let inside = |key: &str| fields.get(key).and_then(Value::as_object);
    if let Some(kwargs) = inside("kwargs") {
        // LangChain: {lc, type: "constructor", id: [.., "HumanMessage"], kwargs}
        let class = fields.get("id").and_then(|id| id.as_array()?.last()?.as_str()).unwrap_or_default();
        let class = class.trim_end_matches("Chunk").trim_end_matches("Message");
        let named = text(kwargs, "role").or_else(|| text(kwargs, "type"));
        return role(if class.is_empty() || class == "Chat" { named.as_deref().unwrap_or("assistant") } else { class });
    }
    let named = match inside("data") {
        // LangChain: {type: "human", data: {content}}
        Some(data) => text(fields, "type").or_else(|| text(data, "role")),
        None => text(fields, "role").or_else(|| text(fields, "type")),
    };
    named.as_deref().and_then(role)
}

/// A role by any of its names.
fn role(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().trim_end_matches("message") {
        "system" => "system",
        "developer" => "developer",
        "user" | "human" => "user",
        "assistant" | "ai" | "model" | "bot" | "aimessagechunk" => "assistant",
        "tool" => "tool",
        "function" => "function",
        _ => return None,
    })
}

/// What was found in a message so far.
struct Found<'a> {
    role: &'static str,
    said: Said,
    /// Parts that are no text, with the texts before them.
    media: Vec<Value>,
    /// Messages of tools.
    results: Vec<Value>,
    lossy: &'a mut Vec<String>,
}

impl Found<'_> {
    fn part(&mut self, part: Value) {
        let kind = part["type"].as_str().unwrap_or_default();
        let field = |keys: &[&str]| keys.iter().map(|key| &part[*key]).find(|value| !value.is_null()).unwrap_or(&Value::Null);
        match kind {
            "tool_use" | "tool-call" | "tool_call" => self.call(&part),
            "tool_result" | "tool-result" | "tool_call_response" => {
                let id = field(&["tool_use_id", "toolCallId", "id"]).clone();
                let result = plain(field(&["content", "output", "response", "result"]));
                self.result(&id, &result);
            }
            "reasoning" | "thinking" => self.said.thoughts.push_str(field(&["text", "content", "thinking"]).as_str().unwrap_or_default()),
            "redacted_thinking" => {}
            _ if part.get("functionCall").is_some() || part.get("toolUse").is_some() => {
                self.call(field(&["functionCall", "toolUse"]));
            }
            _ if part.get("functionResponse").is_some() || part.get("toolResult").is_some() => {
                let inner = field(&["functionResponse", "toolResult"]);
                let id = ["toolUseId", "id", "name"].iter().map(|key| &inner[*key]).find(|id| id.is_string()).cloned();
                let result = ["response", "content"].iter().map(|key| &inner[*key]).find(|value| !value.is_null());
                self.result(&id.unwrap_or_default(), &result.map_or_else(String::new, plain));
            }
            _ => match part.as_str().or_else(|| field(&["text", "content"]).as_str()) {
                Some(text) => self.text(text),
                None => {
                    mark(self.lossy, "media", true);
                    let text = std::mem::take(&mut self.said.text);
                    if !text.is_empty() {
                        self.media.push(json!({"type": "text", "text": text}));
                    }
                    self.media.push(part);
                }
            },
        }
    }

    fn text(&mut self, text: &str) {
        if !self.said.text.is_empty() && self.role != "assistant" {
            self.said.text.push('\n');
        }
        self.said.text.push_str(text);
    }

    /// A tool call of any shape: fields flat or in `function`, arguments as text or as an object.
    fn call(&mut self, call: &Value) {
        let inner = call.get("function").filter(|function| function.is_object()).unwrap_or(call);
        let find = |from: &Value, keys: &[&str]| keys.iter().map(|key| &from[*key]).find(|value| !value.is_null()).cloned();
        let id = find(call, &["id", "toolCallId", "tool_call_id", "toolUseId", "call_id"]).unwrap_or_default();
        let name = find(inner, &["name", "toolName", "function_name"]).unwrap_or_default();
        let arguments = match find(inner, &["arguments", "args", "input"]) {
            None => "{}".to_owned(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        if name.is_string() {
            self.said.calls.push(tool_call(id, name, arguments));
        } else {
            mark(self.lossy, "blocks", true);
        }
    }

    fn result(&mut self, id: &Value, content: &str) {
        self.results.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
    }

    /// Adds the messages: results of tools first, for they answer what was said before.
    fn finish(mut self, fields: Map<String, Value>, messages: &mut Vec<Value>) {
        let results = !self.results.is_empty();
        messages.append(&mut self.results);
        let said = &self.said;
        if results && said.text.is_empty() && self.media.is_empty() && said.calls.is_empty() {
            return;
        }
        let mut message = if self.role == "assistant" {
            self.said.message()
        } else if self.media.is_empty() {
            json!({"role": self.role, "content": self.said.text})
        } else {
            if !self.said.text.is_empty() {
                self.media.push(json!({"type": "text", "text": self.said.text}));
            }
            json!({"role": self.role, "content": self.media})
        };
        let kept = ["name", "tool_call_id", "refusal", "reasoning_content", "weight", "finish_reason", "annotations", "function_call"];
        for (key, value) in fields.into_iter().filter(|(key, value)| kept.contains(&key.as_str()) && !value.is_null()) {
            message[key] = value;
        }
        messages.push(message);
    }
}

/// A tool's result as text: texts in parts or in `{type, value}` are taken out, the rest is JSON.
fn plain(result: &Value) -> String {
    match result {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) if !parts.is_empty() && parts.iter().all(|part| part["text"].is_string()) => chat::texts(parts),
        Value::Object(output) if output.len() == 2 && output.contains_key("type") && output.contains_key("value") => {
            plain(&output["value"])
        }
        other => other.to_string(),
    }
}
