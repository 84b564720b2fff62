//! OpenAI chat request and response pairs.
//!
//! Source: openai/openai-openapi, `CreateChatCompletionRequest` and `…Response`. Bodies are kept as they came, legacy
//! `functions` and `function_call` moved to `tools` and `tool_calls`.
use record::Call;
use serde_json::{Map, Value, json};

use super::chat;
use crate::fault::Fault;
use crate::format::Shape;
use crate::pair::{self, mark};
use crate::row::kind;

const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

pub struct Openai;

impl Shape for Openai {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        row.contains_key("request") && row.contains_key("response")
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        Ok(vec![pair::read(row, normalise)?])
    }
}

pub fn normalise(mut request: Map<String, Value>, response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<(Value, Value), Fault> {
    if !request.contains_key("messages") && (request.contains_key("input") || request.contains_key("prompt")) {
        let problem = "it is no chat body: it has `input` or `prompt` in place of `messages`";
        return Err(Fault::new("request.messages", problem, "convert it to a chat body with `messages`"));
    }
    if !request.contains_key("messages") && !request.is_empty() {
        let keys: Vec<_> = request.keys().take(5).map(|key| format!("`{key}`")).collect();
        let problem = format!("it is a body of no known API: there are no `messages`, but {}", keys.join(", "));
        return Err(Fault::new("request", problem, "convert it to a chat body with `messages`"));
    }
    check_messages(request.get_mut("messages"), "request.messages", lossy)?;
    modern_tools(&mut request);
    mark(lossy, "model", !request.contains_key("model") && !response.contains_key("model"));
    let response = completion(response, lossy)?;
    Ok((Value::Object(request), response))
}

/// Checks the messages of a body and moves legacy calls to `tool_calls`.
pub fn check_messages(messages: Option<&mut Value>, path: &str, lossy: &mut Vec<String>) -> Result<(), Fault> {
    let messages = match messages {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => return Err(Fault::new(path, "the list is empty", "log the messages that were sent")),
        Some(other) => {
            return Err(Fault::new(path, format!("it is {}, expected a list of messages", kind(other)), "log the messages that were sent"));
        }
        None => return Err(Fault::new(path, "there are no messages", "log the messages that were sent")),
    };
    for (at, message) in messages.iter_mut().enumerate() {
        check_message(message, &format!("{path}[{at}]"), lossy)?;
    }
    Ok(())
}

fn check_message(message: &mut Value, path: &str, lossy: &mut Vec<String>) -> Result<(), Fault> {
    let Value::Object(message) = message else {
        return Err(Fault::new(path, format!("it is {}, expected a message", kind(message)), "write `{\"role\": …, \"content\": …}`"));
    };
    let expected = || format!("use one of `{}`", ROLES.join("`, `"));
    match message.get("role").and_then(Value::as_str) {
        Some(role) if ROLES.contains(&role) => {}
        Some(role) => return Err(Fault::new(format!("{path}.role"), format!("`{role}` is no role"), expected())),
        None => return Err(Fault::new(format!("{path}.role"), "there is none", expected())),
    }
    match message.get("content") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            let plain = |part: &Value| part.is_string() || part.get("text").is_some() || part.get("refusal").is_some();
            mark(lossy, "media", !parts.iter().all(plain));
        }
        Some(other) => {
            let problem = format!("it is {}, expected text or a list of parts", kind(other));
            return Err(Fault::new(format!("{path}.content"), problem, "write the content as text"));
        }
    }
    if let Some(calls) = message.get("tool_calls").filter(|calls| !calls.is_null() && !calls.is_array()) {
        let problem = format!("it is {}, expected a list", kind(calls));
        return Err(Fault::new(format!("{path}.tool_calls"), problem, "write the tool calls as a list"));
    }
    modern_call(message);
    Ok(())
}

/// Moves the legacy `function_call` of a message to `tool_calls`.
fn modern_call(message: &mut Map<String, Value>) {
    if message.get("tool_calls").is_none_or(Value::is_null)
        && let Some(function) = message.shift_remove("function_call").filter(Value::is_object)
    {
        message.insert("tool_calls".to_owned(), json!([{"type": "function", "function": function}]));
    }
}

/// Moves the legacy `functions` of a request to `tools`.
pub fn modern_tools(request: &mut Map<String, Value>) {
    if request.get("tools").is_none_or(Value::is_null)
        && let Some(Value::Array(functions)) = request.shift_remove("functions")
    {
        let tools: Vec<_> = functions.into_iter().map(|function| json!({"type": "function", "function": function})).collect();
        request.insert("tools".to_owned(), tools.into());
    }
}

/// An answer whose message stands alone, as Ollama's chat and Cohere's second one have it, as a completion.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, which Cohere writes as fractions")]
fn of_message(mut response: Map<String, Value>) -> Map<String, Value> {
    let message = response.shift_remove("message");
    let reason = ["finish_reason", "done_reason"].iter().find_map(|key| response.shift_remove(*key));
    let finish = reason.as_ref().map(chat::finish);
    let tokens = response.get("usage").map_or(&Value::Null, |usage| &usage["tokens"]);
    let count = |flat: &str, nested: &str| response.get(flat).unwrap_or(&tokens[nested]).as_f64();
    if let Some((prompt, said)) = count("prompt_eval_count", "input_tokens").zip(count("eval_count", "output_tokens")) {
        response.insert("usage".to_owned(), chat::usage(prompt as u64, said as u64));
    }
    response.insert("choices".to_owned(), json!([{"index": 0, "finish_reason": finish, "message": message}]));
    response
}

/// A completion with an answer in its first choice; a bare assistant message is made one.
fn completion(mut response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Value, Fault> {
    if !response.contains_key("choices") && (response.contains_key("content") || response.contains_key("tool_calls")) {
        response.entry("role").or_insert_with(|| "assistant".into());
        response = match record::Response::from_message(&Value::Object(response)).0 {
            Value::Object(completion) => completion,
            _ => Map::new(),
        };
    }
    if !response.contains_key("choices") && response.get("message").is_some_and(Value::is_object) {
        response = of_message(response);
    }
    let Some(choices) = response.get_mut("choices").and_then(Value::as_array_mut).filter(|choices| !choices.is_empty()) else {
        return Err(Fault::new("response.choices", "there is no choice", "log the whole completion; drop calls that got no answer"));
    };
    // The first choice is the answer; others stay for the teacher's agreement with itself.
    if let Some(first) = choices.iter().position(|choice| choice.get("index").and_then(Value::as_u64) == Some(0)) {
        choices.swap(0, first);
    }
    let choice = &mut choices[0];
    if choice.get("delta").is_some() {
        let problem = "it is one piece of a streamed answer";
        return Err(Fault::new("response.choices[0].delta", problem, "log the answer once it is whole, as a `chat.completion`"));
    }
    let path = "response.choices[0].message";
    let Some(message @ Value::Object(_)) = choice.get_mut("message") else {
        return Err(Fault::new(path, "there is no message", "log the whole completion; drop calls that got no answer"));
    };
    if let Value::Object(fields) = &mut *message {
        fields.entry("role").or_insert_with(|| "assistant".into());
    }
    check_message(message, path, lossy)?;
    let present = |key: &str| {
        message
            .get(key)
            .is_some_and(|value| !value.is_null() && value.as_str() != Some("") && value.as_array().is_none_or(|list| !list.is_empty()))
    };
    if !["content", "tool_calls", "refusal"].into_iter().any(present) {
        return Err(Fault::new(path, "the answer holds neither text nor tool calls", "nothing to cure: an empty answer teaches nothing"));
    }
    Ok(Value::Object(response))
}
