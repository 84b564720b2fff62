//! Bedrock Converse request and response pairs, turned into chat bodies.
//!
//! Source: AWS API reference, Bedrock runtime, `Converse`: `Message`, `ContentBlock`, `ToolConfiguration`, `ConverseResponse`. The model
//! stands in the address of a request, not in its body. Fields without a counterpart stay where they were.
use record::Call;
use serde_json::{Map, Value, json};

use super::chat::{self, Said, is_empty, texts, tool_call};
use super::openai::check_messages;
use crate::fault::Fault;
use crate::format::Shape;
use crate::pair::{self, mark};

pub struct Converse;

impl Shape for Converse {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let (Some(request), Some(response)) = (row.get("request"), row.get("response")) else { return false };
        let answered = response["output"]["message"].is_object();
        let asked = || ["inferenceConfig", "toolConfig"].iter().any(|key| request.get(*key).is_some_and(Value::is_object));
        request.get("messages").is_some_and(Value::is_array) && (answered || asked())
    }

    fn read(&self, mut row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        pair::model_into_request(&mut row, &["model", "modelId"]);
        Ok(vec![pair::read(row, normalise)?])
    }
}

fn normalise(request: Map<String, Value>, response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<(Value, Value), Fault> {
    let response = completion(response, lossy)?;
    mark(lossy, "model", !request.contains_key("model") && !request.contains_key("modelId"));
    Ok((Value::Object(chat(request, lossy)?), response))
}

fn chat(mut request: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Map<String, Value>, Fault> {
    let mut messages = Vec::new();
    if let Some(Value::Array(system)) = request.shift_remove("system") {
        messages.push(json!({"role": "system", "content": texts(&system)}));
    }
    let Some(Value::Array(sent)) = request.shift_remove("messages") else {
        return Err(Fault::new("request.messages", "there are no messages", "log the messages that were sent"));
    };
    for message in &sent {
        let blocks = message["content"].as_array().map_or(&[] as &[_], Vec::as_slice);
        if message["role"] == "assistant" {
            messages.push(assistant(blocks, lossy));
        } else {
            user(blocks, &message["role"], &mut messages, lossy);
        }
    }
    let mut messages = Value::Array(messages);
    check_messages(Some(&mut messages), "request.messages", lossy)?;
    let mut chat = chat::request(request.shift_remove("model").or_else(|| request.shift_remove("modelId")), messages);
    if let Some(Value::Object(mut config)) = request.shift_remove("toolConfig") {
        if let Some(Value::Array(tools)) = config.shift_remove("tools") {
            mark(lossy, "tools", tools.iter().any(|tool| !tool["toolSpec"].is_object()));
            chat.insert(
                "tools".to_owned(),
                tools.iter().map(|tool| &tool["toolSpec"]).filter(|tool| tool.is_object()).map(function).collect(),
            );
        }
        match config.shift_remove("toolChoice") {
            Some(choice) if choice.get("any").is_some() => drop(chat.insert("tool_choice".to_owned(), "required".into())),
            Some(choice) if choice.get("tool").is_some() => {
                let choice = json!({"type": "function", "function": {"name": choice["tool"]["name"]}});
                chat.insert("tool_choice".to_owned(), choice);
            }
            _ => {}
        }
    }
    if let Some(Value::Object(mut config)) = request.shift_remove("inferenceConfig") {
        for (from, to) in [("temperature", "temperature"), ("topP", "top_p"), ("maxTokens", "max_tokens"), ("stopSequences", "stop")] {
            if let Some(value) = config.shift_remove(from) {
                chat.insert(to.to_owned(), value);
            }
        }
        if !config.is_empty() {
            chat.insert("inference_config".to_owned(), config.into());
        }
    }
    chat.extend(request);
    Ok(chat)
}

fn function(spec: &Value) -> Value {
    let mut function = Map::new();
    for (key, value) in [("name", &spec["name"]), ("description", &spec["description"]), ("parameters", &spec["inputSchema"]["json"])] {
        if !value.is_null() {
            function.insert(key.to_owned(), value.clone());
        }
    }
    json!({"type": "function", "function": function})
}

/// A user's turn: tool results are messages of their own, before what is said beside them.
fn user(blocks: &[Value], role: &Value, messages: &mut Vec<Value>, lossy: &mut Vec<String>) {
    let (results, rest): (Vec<&Value>, Vec<&Value>) = blocks.iter().partition(|block| block["toolResult"].is_object());
    for result in results.into_iter().map(|block| &block["toolResult"]) {
        let parts = result["content"].as_array().into_iter().flatten();
        let said: Vec<String> = parts
            .filter_map(|part| {
                part["text"].as_str().map_or_else(|| part.get("json").map(ToString::to_string), |text| Some(text.to_owned()))
            })
            .collect();
        let mut message = json!({"role": "tool", "tool_call_id": result["toolUseId"], "content": said.join("\n")});
        if result["status"] == "error" {
            message["is_error"] = true.into();
        }
        messages.push(message);
    }
    if rest.is_empty() {
        return;
    }
    let plain: Vec<Value> =
        rest.iter().map(|block| block.get("guardContent").map_or_else(|| (*block).clone(), |guarded| guarded["text"].clone())).collect();
    let all_text = plain.iter().all(|block| block["text"].is_string());
    let content = if all_text { texts(&plain).into() } else { chat::content(&rest, lossy) };
    messages.push(json!({"role": role, "content": content}));
}

fn assistant(blocks: &[Value], lossy: &mut Vec<String>) -> Value {
    let mut said = Said::default();
    for block in blocks {
        if let Some(used) = block.get("toolUse") {
            let arguments = used.get("input").map_or_else(|| "{}".to_owned(), ToString::to_string);
            said.calls.push(tool_call(used["toolUseId"].clone(), used["name"].clone(), arguments));
        } else if let Some(more) = block["text"].as_str() {
            said.text.push_str(more);
        } else if let Some(more) = block["reasoningContent"]["reasoningText"]["text"].as_str() {
            said.thoughts.push_str(more);
        } else {
            mark(lossy, "blocks", true);
        }
    }
    said.message()
}

/// The reply as a chat completion.
fn completion(mut response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<Value, Fault> {
    let Some(Value::Array(blocks)) = response.get("output").map(|output| &output["message"]["content"]) else {
        return Err(Fault::new("response.output.message", "there is none", "log the whole response; drop calls that got no answer"));
    };
    let message = assistant(blocks, lossy);
    if is_empty(&message) {
        let problem = "the answer holds neither text nor tool uses";
        return Err(Fault::new("response.output.message", problem, "nothing to cure: an empty answer teaches nothing"));
    }
    let finish = response.get("stopReason").map(chat::finish);
    let usage = response.get("usage").filter(|usage| usage.is_object()).map(|usage| {
        let count = |key: &str| usage[key].as_u64().unwrap_or_default();
        let (read, written) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
        let mut tokens = chat::usage(count("inputTokens") + read + written, count("outputTokens"));
        tokens["prompt_tokens_details"] = json!({"cached_tokens": read});
        tokens
    });
    let choices = json!([{"index": 0, "finish_reason": finish, "message": message}]);
    Ok(chat::completion(&mut response, &[], choices, usage))
}
