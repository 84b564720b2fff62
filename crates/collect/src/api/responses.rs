//! OpenAI Responses API request and response pairs, turned into chat bodies.
//!
//! Source: openai/openai-openapi, `CreateResponse` and `Response`. `instructions` become the system message, function calls that follow
//! one another one assistant message, their outputs tool messages. Fields without a counterpart stay where they were.
use record::Call;
use serde_json::{Map, Value, json};

use super::chat::{self, tool_call};
use super::openai::check_messages;
use crate::fault::Fault;
use crate::format::Shape;
use crate::pair::{self, mark};
use crate::row::kind;

pub struct Responses;

impl Shape for Responses {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let (Some(request), Some(response)) = (row.get("request"), row.get("response")) else { return false };
        let asked = request.get("messages").is_none() && request.get("input").is_some();
        asked && (response.get("object").and_then(Value::as_str) == Some("response") || response.get("output").is_some_and(Value::is_array))
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        Ok(vec![pair::read(row, normalise)?])
    }
}

fn normalise(request: Map<String, Value>, response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<(Value, Value), Fault> {
    let response = completion(response, lossy)?;
    Ok((Value::Object(chat(request, lossy)?), response))
}

fn chat(mut request: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Map<String, Value>, Fault> {
    let mut messages = Vec::new();
    match request.shift_remove("instructions") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => messages.push(json!({"role": "system", "content": text})),
        Some(items) => items_to_messages(&items, "request.instructions", &mut messages, lossy)?,
    }
    match request.shift_remove("input").unwrap_or(Value::Null) {
        Value::String(text) => messages.push(json!({"role": "user", "content": text})),
        items => items_to_messages(&items, "request.input", &mut messages, lossy)?,
    }
    // the server knew what came before, the log does not
    let continued = ["previous_response_id", "conversation"].iter().any(|key| request.get(*key).is_some_and(|value| !value.is_null()));
    mark(lossy, "history", continued);
    let mut messages = Value::Array(messages);
    check_messages(Some(&mut messages), "request.input", lossy)?;
    let mut chat = chat::request(request.shift_remove("model"), messages);
    if let Some(Value::Array(tools)) = request.shift_remove("tools") {
        mark(lossy, "tools", tools.iter().any(|tool| tool["type"] != "function"));
        if !tools.is_empty() {
            chat.insert("tools".to_owned(), tools.into_iter().map(tool).collect());
        }
    }
    if let Some(choice) = request.shift_remove("tool_choice") {
        let named = choice.get("name").cloned();
        chat.insert("tool_choice".to_owned(), named.map_or(choice, |name| json!({"type": "function", "function": {"name": name}})));
    }
    if let Some(mut text) = request.shift_remove("text") {
        match text.get_mut("format").map(Value::take) {
            Some(Value::Object(format)) if format.get("type").is_some_and(|kind| kind == "json_schema") => {
                let schema: Map<String, Value> = format.into_iter().filter(|(key, _)| key != "type").collect();
                chat.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": schema}));
            }
            Some(format) if format["type"] == "json_object" => drop(chat.insert("response_format".to_owned(), format)),
            _ => {}
        }
    }
    if let Some(most) = request.shift_remove("max_output_tokens").filter(|most| !most.is_null()) {
        chat.insert("max_completion_tokens".to_owned(), most);
    }
    chat.extend(request);
    Ok(chat)
}

/// A function stands flat in this API; what the server runs itself is kept as it is.
fn tool(tool: Value) -> Value {
    match tool {
        Value::Object(function) if function.get("type").is_some_and(|kind| kind == "function") => {
            let function: Map<String, Value> = function.into_iter().filter(|(key, _)| key != "type").collect();
            json!({"type": "function", "function": function})
        }
        other => other,
    }
}

fn items_to_messages(items: &Value, path: &str, messages: &mut Vec<Value>, lossy: &mut Vec<String>) -> Result<(), Fault> {
    let Value::Array(items) = items else {
        return Err(Fault::new(path, format!("it is {}, expected text or a list of items", kind(items)), "log the body as it was sent"));
    };
    for (at, item) in items.iter().enumerate() {
        match item.get("type").and_then(Value::as_str).unwrap_or("message") {
            "message" => messages.push(json!({"role": item["role"], "content": content(&item["content"], lossy)})),
            "function_call" => call(item, &format!("{path}[{at}]"), messages)?,
            "function_call_output" => {
                messages.push(json!({"role": "tool", "tool_call_id": item["call_id"], "content": content(&item["output"], lossy)}));
            }
            "item_reference" => mark(lossy, "history", true),
            // what a model thought is no part of what it is asked
            "reasoning" => {}
            _ => mark(lossy, "blocks", true),
        }
    }
    Ok(())
}

/// Adds a function call to the assistant's message it belongs to.
fn call(item: &Value, path: &str, messages: &mut Vec<Value>) -> Result<(), Fault> {
    let Some(name) = item.get("name").and_then(Value::as_str) else {
        return Err(Fault::new(format!("{path}.name"), "the call names no function", "log the whole item"));
    };
    let arguments = match &item["arguments"] {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let call = tool_call(item["call_id"].clone(), name, arguments);
    match messages.last_mut().filter(|last| last["role"] == "assistant") {
        Some(last) => match last["tool_calls"].as_array_mut() {
            Some(calls) => calls.push(call),
            None => last["tool_calls"] = json!([call]),
        },
        None => messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
    }
    Ok(())
}

/// A content that is a list of parts as a chat has it; others stay.
fn content(content: &Value, lossy: &mut Vec<String>) -> Value {
    let parts: Option<Vec<&Value>> = content.as_array().map(|parts| parts.iter().collect());
    parts.map_or_else(|| content.clone(), |parts| chat::content(&parts, lossy))
}

/// The reply as a chat completion.
fn completion(mut response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Value, Fault> {
    let Some(Value::Array(output)) = response.shift_remove("output") else {
        return Err(Fault::new("response.output", "there is none", "log the whole response; drop calls that got no answer"));
    };
    let (mut texts, mut refusals, mut thoughts, mut said) = (Vec::new(), Vec::new(), Vec::new(), vec![json!({"role": "assistant"})]);
    let text = |part: &Value, key: &str| part.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    for (at, item) in output.iter().enumerate() {
        let parts = |key: &str| item.get(key).and_then(Value::as_array).into_iter().flatten();
        match item.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message" => {
                texts.extend(parts("content").filter_map(|part| text(part, "text")));
                refusals.extend(parts("content").filter_map(|part| text(part, "refusal")));
            }
            "function_call" => call(item, &format!("response.output[{at}]"), &mut said)?,
            "reasoning" => thoughts.extend(parts("summary").chain(parts("content")).filter_map(|part| text(part, "text"))),
            _ => mark(lossy, "blocks", true),
        }
    }
    let mut message = said.swap_remove(0);
    message["content"] = if texts.is_empty() { Value::Null } else { texts.concat().into() };
    for (key, found) in [("refusal", refusals), ("reasoning_content", thoughts)] {
        if !found.is_empty() {
            message[key] = found.join("\n").into();
        }
    }
    let called = message.get("tool_calls").is_some();
    if !called && texts.is_empty() && message.get("refusal").is_none() {
        let problem = "the answer holds neither text nor function calls";
        return Err(Fault::new("response.output", problem, "nothing to cure: an empty answer teaches nothing"));
    }
    let cut = response.get("incomplete_details").and_then(|details| details["reason"].as_str());
    let finish = match cut {
        Some("content_filter") => "content_filter",
        Some(_) => "length",
        None if called => "tool_calls",
        None => "stop",
    };
    let usage = response.get("usage").filter(|usage| usage.is_object()).map(tokens);
    let choices = json!([{"index": 0, "finish_reason": finish, "message": message}]);
    Ok(chat::completion(&mut response, &[("id", "id"), ("created_at", "created"), ("model", "model")], choices, usage))
}

fn tokens(usage: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let mut tokens = chat::usage(count(&usage["input_tokens"]), count(&usage["output_tokens"]));
    tokens["prompt_tokens_details"] = json!({"cached_tokens": count(&usage["input_tokens_details"]["cached_tokens"])});
    tokens["completion_tokens_details"] = json!({"reasoning_tokens": count(&usage["output_tokens_details"]["reasoning_tokens"])});
    tokens
}
