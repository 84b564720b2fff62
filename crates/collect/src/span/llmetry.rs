//! OpenLLMetry (Traceloop): prompts and answers in attributes with numbers in their names (`gen_ai.prompt.0.role`).
//!
//! Source: traceloop/openllmetry, `semconv_ai`. Newer releases write the convention of [`super::genai`].
use serde_json::{Map, Value, json};

use super::Told;
use super::otlp::Span;
use crate::fault::Fault;
use crate::row::{is_nothing, parsed};

const CURE: &str = "take `TRACELOOP_TRACE_CONTENT=false` away where the agent runs";

pub fn tell(span: &Span<'_>) -> Result<Option<Told>, Fault> {
    let attributes = span.attributes();
    let (own, llm) = (&attributes["gen_ai"], &attributes["llm"]);
    let numbered = own["prompt"].is_array() || own["completion"].is_array();
    if !numbered && !matches!(llm["request"]["type"].as_str(), Some("chat" | "completion")) {
        return Ok(None);
    }
    if !numbered && (own["input"]["messages"].is_string() || own["output"]["messages"].is_string()) {
        return Ok(None);
    }
    let mut told = Told { cure: CURE, response: answer(&own["completion"]), ..Told::default() };
    told.ask("messages", &[&own["prompt"].as_array().map(|list| list.iter().map(message).collect()).unwrap_or_default()]);
    let asked = &own["request"];
    told.ask("model", &[&asked["model"], &own["response"]["model"], &llm["request"]["model"]]);
    told.ask("temperature", &[&asked["temperature"], &llm["temperature"]]);
    told.ask("top_p", &[&asked["top_p"], &llm["top_p"]]);
    told.ask("max_tokens", &[&asked["max_tokens"]]);
    told.ask("tools", &[&llm["request"]["functions"].as_array().map(|tools| tools.iter().map(tool).collect()).unwrap_or_default()]);
    let (traceloop, usage) = (&attributes["traceloop"], &own["usage"]);
    let properties = &traceloop["association"]["properties"];
    told.conversation = Told::any(&[
        &properties["session_id"],
        &properties["conversation_id"],
        &properties["thread_id"],
        &properties["chat_id"],
        &own["conversation"]["id"],
    ]);
    told.workload = Told::any(&[&traceloop["prompt"]["key"]]);
    told.client = Told::any(&[&properties["user_id"], &attributes["user"]["id"]]);
    let count = |values: [&Value; 3]| values.into_iter().find_map(Value::as_u64);
    told.usage = (
        count([&usage["input_tokens"], &usage["prompt_tokens"], &llm["usage"]["prompt_tokens"]]),
        count([&usage["output_tokens"], &usage["completion_tokens"], &llm["usage"]["completion_tokens"]]),
    );
    Ok(Some(told))
}

/// A message whose content may be JSON in a text.
fn message(said: &Value) -> Value {
    let mut message = said.clone();
    if let Value::Array(parts) = parsed(said["content"].clone())
        && parts.iter().all(|part| part["type"].is_string())
    {
        message["content"] = parts.into();
    }
    message
}

fn answer(completion: &Value) -> Value {
    let Some(list) = completion.as_array() else { return Value::Null };
    let choice = |said: &Value| json!({"finish_reason": said["finish_reason"], "message": message(said)});
    let said = |said: &&Value| !is_nothing(&said["content"]) || !is_nothing(&said["tool_calls"]);
    list.iter().filter(said).map(choice).collect()
}

fn tool(function: &Value) -> Value {
    let field = |key: &str| Some((key.to_owned(), parsed(function.get(key)?.clone())));
    let function: Map<String, Value> = ["name", "description", "parameters"].into_iter().filter_map(field).collect();
    json!({"type": "function", "function": function})
}
