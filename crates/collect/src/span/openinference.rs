//! OpenInference (Phoenix and others): `llm.input_messages.0.message.role` and the like.
//!
//! Source: Arize-ai/openinference, `spec/semantic_conventions.md`.
use serde_json::{Value, json};

use super::Told;
use super::otlp::Span;
use crate::fault::Fault;
use crate::row::{is_nothing, parsed};

const CURE: &str = "trace with inputs and outputs: take `OPENINFERENCE_HIDE_INPUTS`, `OPENINFERENCE_HIDE_OUTPUTS` and their like away where the agent runs";

pub fn tell(span: &Span<'_>) -> Result<Option<Told>, Fault> {
    let attributes = span.attributes();
    if attributes["openinference"]["span"]["kind"] != "LLM" {
        return Ok(None);
    }
    let llm = &attributes["llm"];
    let messages = |key: &str| -> Vec<Value> {
        llm[key].as_array().into_iter().flatten().map(|entry| message(entry.get("message").unwrap_or(entry))).collect()
    };
    let (asked, answered) = (messages("input_messages"), messages("output_messages"));
    let (input, output) = (&attributes["input"]["value"], &attributes["output"]["value"]);
    let mut told = Told { cure: CURE, ..Told::default() };
    // what the client was given, as a body, where messages are not taken apart
    match parsed(input.clone()) {
        Value::Object(body) if asked.is_empty() => told.request = body,
        value if asked.is_empty() => told.ask("messages", &[&value]),
        _ => told.ask("messages", &[&asked.into()]),
    }
    told.response = if answered.is_empty() { output.clone() } else { choices(answered, &llm["finish_reason"]) };
    told.ask("model", &[&llm["model_name"]]);
    if let Value::Object(settings) = parsed(llm["invocation_parameters"].clone()) {
        settings.iter().filter(|(key, _)| *key != "messages").for_each(|(key, value)| told.ask(key, &[value]));
    }
    let tools: Vec<Value> = llm["tools"].as_array().into_iter().flatten().map(tool).collect();
    told.ask("tools", &[&tools.into()]);
    told.conversation = Told::any(&[&attributes["session"]["id"]]);
    told.workload = Told::any(&[&llm["prompt_template"]["name"], &attributes["graph"]["node"]["id"], &attributes["agent"]["name"]]);
    told.client = Told::any(&[&attributes["user"]["id"]]);
    told.usage = (llm["token_count"]["prompt"].as_u64(), llm["token_count"]["completion"].as_u64());
    told.cached = llm["token_count"]["prompt_details"]["cache_read"].as_u64();
    told.cost = Told::any(&[&llm["cost"]["total"]]);
    Ok(Some(told))
}

/// A message with its parts and tool calls out of what is wrapped around each.
fn message(wrapped: &Value) -> Value {
    let mut message = json!({"role": wrapped["role"]});
    for key in ["content", "name", "tool_call_id"] {
        if !wrapped[key].is_null() {
            message[key] = wrapped[key].clone();
        }
    }
    let list = |key: &str| wrapped[key].as_array().into_iter().flatten();
    let parts: Vec<Value> = list("contents").map(|part| part.get("message_content").unwrap_or(part).clone()).collect();
    if !parts.is_empty() {
        message["content"] = parts.into();
    }
    let calls: Vec<Value> = list("tool_calls").map(|call| call.get("tool_call").unwrap_or(call).clone()).collect();
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}

fn choices(messages: Vec<Value>, finish: &Value) -> Value {
    messages.into_iter().map(|message| json!({"message": message, "finish_reason": finish})).collect()
}

fn tool(wrapped: &Value) -> Value {
    let inner = wrapped.get("tool").unwrap_or(wrapped);
    let schema = parsed(inner["json_schema"].clone());
    if schema.get("function").is_some() || is_nothing(&schema) { schema } else { json!({"type": "function", "function": schema}) }
}
