//! TensorZero: rows of its tables `ChatInference`, `JsonInference` and `ModelInference`.
//!
//! Source: TensorZero's data model. The first two keep what a function was given, not the prompt that its templates made of it; what
//! stands for a prompt is marked `template`. The third keeps the bodies, and no episode.
use record::Call;
use serde_json::{Map, Value, json};

use super::Known;
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{Row, count, first, is_nothing, parsed};

pub struct Tensorzero;

impl Shape for Tensorzero {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let all = |keys: &[&str]| keys.iter().all(|key| row.contains_key(*key));
        all(&["function_name", "variant_name", "episode_id", "input", "output"]) || all(&["inference_id", "raw_request", "raw_response"])
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let mut row = Row(row);
        if row.0.contains_key("raw_request") {
            return of_model(row);
        }
        let (mut input, output) = (row.take_open(&["input"]), row.take_open(&["output"]));
        for (field, body) in [("input", &input), ("output", &output)] {
            if is_nothing(body) {
                return Err(Fault::new(field, "there is none", "export whole rows of `ChatInference` or `JsonInference`"));
            }
        }
        let (mut messages, mut template) = (Vec::new(), false);
        if let Some(system) = input.get_mut("system").map(Value::take).filter(|system| !is_nothing(system)) {
            template |= !system.is_string();
            messages.push(json!({"role": "system", "content": text(system)}));
        }
        let Some(Value::Array(turns)) = input.get_mut("messages").map(Value::take) else {
            return Err(Fault::new("input.messages", "there are none", "export whole rows of `ChatInference` or `JsonInference`"));
        };
        for mut turn in turns {
            if let Some(blocks) = turn.get_mut("content").and_then(Value::as_array_mut) {
                blocks.iter_mut().for_each(|block| template |= rendered(block));
            }
            messages.push(turn);
        }
        let mut request = Map::from_iter([("messages".to_owned(), messages.into())]);
        let (tools, schema) = (row.take_open(&["tool_params"]), row.take_open(&["output_schema"]));
        if let Some(tools) = ["tools_available", "available_tools"].iter().find_map(|key| tools[*key].as_array()) {
            request.insert("tools".to_owned(), tools.iter().map(|tool| json!({"type": "function", "function": tool})).collect());
        }
        if !is_nothing(&schema) {
            request
                .insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}));
        }
        let answer = output.get("raw").cloned().unwrap_or_else(|| json!({"role": "assistant", "content": output}));
        let row = row.0;
        let find = |keys: &[&str]| first(&row, keys).cloned();
        let tags = find(&["tags"]).map(parsed);
        let user = tags.as_ref().and_then(|tags| tags.get("user_id").or_else(|| tags.get("user"))).cloned();
        Known::new(Value::Object(request), answer)
            .with("source_id", find(&["id", "inference_id"]))
            .with("conversation_id", find(&["episode_id"]))
            .with("workload_id", find(&["function_name"]))
            .with("client_id", user)
            .with("timestamp", find(&["timestamp"]))
            .with("latency_ms", find(&["processing_time_ms"]))
            .with("lossy", template.then(|| json!(["template"])))
            .with("tags", tags.filter(Value::is_object))
            .tagged(&row, &["variant_name", "inference_params", "ttft_ms"])
            .read()
    }
}

/// A row of `ModelInference`: the bodies as the model's vendor had them.
fn of_model(mut row: Row) -> Result<Vec<Call>, Fault> {
    let (request, response) = (row.take_open(&["raw_request"]), row.take_open(&["raw_response"]));
    for (field, body) in [("raw_request", &request), ("raw_response", &response)] {
        if is_nothing(body) {
            return Err(Fault::new(field, "there is none", "export whole rows of `ModelInference`"));
        }
    }
    let row = row.0;
    let find = |keys: &[&str]| first(&row, keys).cloned();
    Known::new(request, response)
        .with("source_id", find(&["inference_id"]))
        .with("timestamp", find(&["timestamp"]))
        .with("latency_ms", find(&["response_time_ms"]))
        .counted(count(&row, &["input_tokens"]), count(&row, &["output_tokens"]))
        .tagged(&row, &["model_name", "model_provider_name", "ttft_ms"])
        .read()
}

/// Puts text in place of what a template was given; whether there was any.
fn rendered(block: &mut Value) -> bool {
    let given = ["value", "arguments"].iter().find_map(|key| block.get(*key).filter(|value| !value.is_null()).cloned());
    match (block["type"].as_str(), given) {
        (Some("text" | "template" | "raw_text"), Some(given)) => {
            let template = !given.is_string();
            *block = json!({"type": "text", "text": text(given)});
            template
        }
        _ => false,
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
