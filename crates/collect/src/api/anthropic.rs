//! Anthropic Messages request and response pairs, turned into OpenAI bodies.
//!
//! Source: anthropics/anthropic-sdk-python, `types/{message,usage,stop_reason,tool_use_block,tool_result_block_param}.py`.
//! `system` becomes the first message, `tool_use` a tool call, each `tool_result` a message of its own; input tokens
//! become the total with the cached ones, as OpenAI counts them. Fields without a counterpart stay where they were.
use record::Call;
use serde_json::{Map, Value, json};

use super::chat::{self, Said, is_empty, tool_call};
use crate::fault::Fault;
use crate::format::Shape;
use crate::pair::{self, mark};
use crate::row::kind;

pub struct Anthropic;

impl Shape for Anthropic {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let (Some(request), Some(response)) = (row.get("request"), row.get("response")) else { return false };
        let replied = response.get("stop_reason").is_some() || response.get("type").and_then(Value::as_str) == Some("message");
        let tools =
            request.get("tools").and_then(Value::as_array).is_some_and(|tools| tools.iter().any(|t| t.get("input_schema").is_some()));
        replied || request.get("system").is_some() || tools
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        Ok(vec![pair::read(row, normalise)?])
    }
}

fn normalise(request: Map<String, Value>, response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<(Value, Value), Fault> {
    Ok((Value::Object(chat(request, lossy)?), completion(response, lossy)?))
}

/// The request as a chat body. Fields that OpenAI names the same stay, and so do those it has no name for.
fn chat(mut request: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Map<String, Value>, Fault> {
    let mut messages = Vec::new();
    match request.shift_remove("system") {
        None | Some(Value::Null) => {}
        Some(system) => messages.push(json!({"role": "system", "content": text_of(&system)})),
    }
    let Some(Value::Array(sent)) = request.shift_remove("messages") else {
        return Err(Fault::new("request.messages", "there are no messages", "log the messages that were sent"));
    };
    for (at, message) in sent.iter().enumerate() {
        let path = format!("request.messages[{at}]");
        let content = message.get("content").unwrap_or(&Value::Null);
        match message.get("role").and_then(Value::as_str) {
            Some("user") => messages.extend(user(content, &path, lossy)?),
            Some("assistant") => messages.push(assistant(content, &path, lossy)?),
            Some(role @ "system") => messages.push(json!({"role": role, "content": text_of(content)})),
            other => {
                let problem = other.map_or("there is none".to_owned(), |role| format!("`{role}` is no role of the Messages API"));
                return Err(Fault::new(format!("{path}.role"), problem, "use `user` or `assistant`"));
            }
        }
    }
    let mut chat = chat::request(request.shift_remove("model"), messages.into());
    if let Some(Value::Array(tools)) = request.shift_remove("tools") {
        mark(lossy, "tools", tools.iter().any(|tool| tool.get("input_schema").is_none()));
        chat.insert("tools".to_owned(), tools.iter().map(tool).collect());
    }
    if let Some(choice) = request.shift_remove("tool_choice") {
        if choice.get("disable_parallel_tool_use").and_then(Value::as_bool) == Some(true) {
            chat.insert("parallel_tool_calls".to_owned(), false.into());
        }
        chat.insert("tool_choice".to_owned(), tool_choice(&choice));
    }
    if let Some(stop) = request.shift_remove("stop_sequences") {
        chat.insert("stop".to_owned(), stop);
    }
    if let Some(user) = request.get("metadata").and_then(|metadata| metadata.get("user_id")).cloned() {
        chat.insert("user".to_owned(), user);
    }
    chat.extend(request);
    Ok(chat)
}

fn tool(tool: &Value) -> Value {
    let mut function = Map::new();
    for (from, to) in [("name", "name"), ("description", "description"), ("input_schema", "parameters")] {
        if let Some(value) = tool.get(from) {
            function.insert(to.to_owned(), value.clone());
        }
    }
    json!({"type": "function", "function": function})
}

fn tool_choice(choice: &Value) -> Value {
    match choice.get("type").and_then(Value::as_str) {
        Some("any") => "required".into(),
        Some("none") => "none".into(),
        Some("tool") => json!({"type": "function", "function": {"name": choice.get("name")}}),
        _ => "auto".into(),
    }
}

/// A user turn: each tool result is a message of its own, what stands between them another.
fn user(content: &Value, path: &str, lossy: &mut Vec<String>) -> Result<Vec<Value>, Fault> {
    let blocks = match content {
        Value::String(text) => return Ok(vec![json!({"role": "user", "content": text})]),
        Value::Array(blocks) => blocks,
        other => return Err(bad_content(other, path)),
    };
    let mut messages = Vec::new();
    for group in blocks.chunk_by(|a, b| !is_result(a) && !is_result(b)) {
        match group {
            [result] if is_result(result) => messages.push(tool_message(result, lossy)),
            parts if parts.iter().all(is_text) => messages.push(json!({"role": "user", "content": text_of(&Value::Array(parts.to_vec()))})),
            parts => {
                mark(lossy, "media", true);
                messages.push(json!({"role": "user", "content": parts}));
            }
        }
    }
    Ok(messages)
}

fn tool_message(result: &Value, lossy: &mut Vec<String>) -> Value {
    let content = result.get("content").unwrap_or(&Value::Null);
    mark(lossy, "media", content.as_array().is_some_and(|parts| !parts.iter().all(is_text)));
    let mut message = json!({"role": "tool", "tool_call_id": result.get("tool_use_id"), "content": text_of(content)});
    if result.get("is_error").and_then(Value::as_bool) == Some(true) {
        message["is_error"] = true.into();
    }
    message
}

/// An assistant turn: its texts in one, its tool uses as tool calls, its thinking apart.
fn assistant(content: &Value, path: &str, lossy: &mut Vec<String>) -> Result<Value, Fault> {
    let blocks = match content {
        Value::String(text) => return Ok(json!({"role": "assistant", "content": text})),
        Value::Array(blocks) => blocks,
        other => return Err(bad_content(other, path)),
    };
    let mut said = Said::default();
    for (at, block) in blocks.iter().enumerate() {
        let field = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        match field("type") {
            "text" => said.text.push_str(field("text")),
            "thinking" => said.thoughts.push_str(field("thinking")),
            "tool_use" => {
                let Some(name) = block.get("name").and_then(Value::as_str) else {
                    return Err(Fault::new(format!("{path}.content[{at}].name"), "the tool use names no tool", "log the whole block"));
                };
                let arguments = block.get("input").map_or_else(|| "{}".to_owned(), ToString::to_string);
                said.calls.push(tool_call(field("id"), name, arguments));
            }
            _ => mark(lossy, "blocks", true),
        }
    }
    Ok(said.message())
}

/// The reply as a chat completion.
fn completion(mut response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Value, Fault> {
    let Some(content) = response.get("content") else {
        return Err(Fault::new("response.content", "there is none", "log the whole message; drop calls that got no answer"));
    };
    let message = assistant(content, "response", lossy)?;
    if is_empty(&message) {
        return Err(Fault::new(
            "response.content",
            "the answer holds neither text nor tool calls",
            "nothing to cure: an empty answer teaches nothing",
        ));
    }
    let finish = response.get("stop_reason").map(chat::finish);
    let usage = response.get("usage").filter(|usage| usage.is_object()).map(tokens);
    let choices = json!([{"index": 0, "finish_reason": finish, "message": message}]);
    Ok(chat::completion(&mut response, &[("id", "id"), ("created", "created"), ("model", "model")], choices, usage))
}

/// Usage as OpenAI counts it: cached tokens are part of the prompt's.
fn tokens(usage: &Value) -> Value {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (read, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let mut tokens = chat::usage(count("input_tokens").saturating_add(read).saturating_add(written), count("output_tokens"));
    tokens["prompt_tokens_details"] = json!({"cached_tokens": read, "cache_creation_tokens": written});
    tokens
}

fn is_result(block: &Value) -> bool {
    block.get("type").and_then(Value::as_str) == Some("tool_result")
}

fn is_text(block: &Value) -> bool {
    block.is_string() || block.get("type").and_then(Value::as_str) == Some("text")
}

/// The text of a string or of text blocks, joined by newlines.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts: Vec<_> = blocks.iter().filter_map(|block| block.as_str().or_else(|| block.get("text")?.as_str())).collect();
            texts.join("\n")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn bad_content(content: &Value, path: &str) -> Fault {
    Fault::new(
        format!("{path}.content"),
        format!("it is {}, expected text or a list of blocks", kind(content)),
        "log the content as it was sent",
    )
}
