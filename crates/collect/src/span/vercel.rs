//! Vercel's AI SDK: `ai.*` attributes. Only spans of one call of a model count; those around them repeat its content.
//!
//! Source: openinference `openinference-vercel`, `AISemanticConventions.ts`.
use serde_json::{Map, Value, json};

use super::Told;
use super::otlp::Span;
use crate::fault::Fault;
use crate::row::{is_nothing, parsed};

const CURE: &str = "set `recordInputs` and `recordOutputs` of `experimental_telemetry` to true";

pub fn tell(span: &Span<'_>) -> Result<Option<Told>, Fault> {
    let attributes = span.attributes();
    let ai = &attributes["ai"];
    let Some(operation) = ai["operationId"].as_str() else { return Ok(None) };
    if !operation.ends_with(".doGenerate") && !operation.ends_with(".doStream") {
        return Ok(None);
    }
    let said = &ai["response"];
    let mut told = Told { cure: CURE, response: answer(said), ..Told::default() };
    told.ask("messages", &[&parsed(ai["prompt"]["messages"].clone())]);
    told.ask("model", &[&ai["model"]["id"], &said["model"]]);
    let tools: Vec<Value> = ai["prompt"]["tools"].as_array().into_iter().flatten().map(|text| tool(&parsed(text.clone()))).collect();
    told.ask("tools", &[&tools.into()]);
    for (from, to) in [("temperature", "temperature"), ("topP", "top_p"), ("maxTokens", "max_tokens"), ("maxOutputTokens", "max_tokens")] {
        told.ask(to, &[&ai["settings"][from]]);
    }
    let (telemetry, usage) = (&ai["telemetry"], &ai["usage"]);
    let metadata = &telemetry["metadata"];
    told.workload = Told::any(&[&telemetry["functionId"]]);
    told.conversation = Told::any(&[
        &metadata["sessionId"],
        &metadata["session_id"],
        &metadata["threadId"],
        &metadata["chatId"],
        &attributes["session"]["id"],
    ]);
    told.client = Told::any(&[&metadata["userId"], &metadata["user_id"]]);
    let count = |values: [&Value; 2]| values.into_iter().find_map(Value::as_u64);
    told.usage = (count([&usage["inputTokens"], &usage["promptTokens"]]), count([&usage["outputTokens"], &usage["completionTokens"]]));
    told.cached = count([&usage["cachedInputTokens"], &usage["inputTokenDetails"]["cacheReadTokens"]]);
    Ok(Some(told))
}

fn answer(said: &Value) -> Value {
    let text = ["text", "object"].iter().map(|key| &said[*key]).find(|text| text.as_str().is_some_and(|text| !text.is_empty()));
    let calls = parsed(said["toolCalls"].clone());
    if text.is_none() && is_nothing(&calls) {
        return Value::Null;
    }
    let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
    message.insert("content".to_owned(), text.cloned().unwrap_or_default());
    if !is_nothing(&calls) {
        message.insert("tool_calls".to_owned(), calls);
    }
    json!([{"message": message, "finish_reason": said["finishReason"]}])
}

fn tool(tool: &Value) -> Value {
    let schema = ["parameters", "inputSchema"].iter().map(|key| &tool[*key]).find(|schema| !schema.is_null()).cloned();
    json!({"type": "function", "function": {"name": tool["name"], "description": tool["description"], "parameters": schema}})
}
