//! LangSmith: runs as its API and its bulk export write them, chat messages of LangChain inside.
//!
//! Source: langchain-ai/langsmith-docs, `run_data_format.mdx`, `log_llm_trace.mdx`.
use record::Call;
use serde_json::{Map, Value, json};

use super::{Known, request};
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{Row, count, first, is_nothing};

pub struct Langsmith;

impl Shape for Langsmith {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let has = |key: &str| row.contains_key(key);
        has("run_type") && has("inputs") && (has("dotted_order") || has("trace_id"))
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        if !matches!(row.get("run_type").and_then(Value::as_str), Some("llm" | "chat_model")) {
            return Ok(Vec::new());
        }
        let mut row = Row(row);
        let (inputs, outputs, extra) = (row.take_open(&["inputs"]), row.take_open(&["outputs"]), row.take_open(&["extra"]));
        let row = row.0;
        if let Some(error) = first(&row, &["error"]) {
            return Err(Fault::failed("error", Some(error)));
        }
        for (field, body, elsewhere) in [("inputs", &inputs, "inputs_s3_urls"), ("outputs", &outputs, "outputs_s3_urls")] {
            if is_nothing(body) {
                let stored = first(&row, &[elsewhere]).is_some();
                let problem = if stored { "it lies in another file, under an address of its own" } else { "there is none" };
                return Err(Fault::new(field, problem, "export runs with their inputs and outputs"));
            }
        }
        let (metadata, settings) = (&extra["metadata"], &extra["invocation_params"]);
        let said = |keys: &[&str]| keys.iter().map(|key| &metadata[*key]).find(|value| !is_nothing(value)).cloned();
        let model = said(&["ls_model_name"])
            .or_else(|| ["model", "model_name"].iter().map(|key| inputs[*key].clone()).find(Value::is_string))
            .or_else(|| Some(settings["model"].clone()));
        let usage = usage(&outputs);
        let find = |keys: &[&str]| first(&row, keys).cloned();
        Known::new(request(asked(inputs), model.as_ref(), Some(chosen(settings, metadata))), outputs)
            .with("source_id", find(&["id"]))
            .with("conversation_id", said(&["session_id", "thread_id", "conversation_id"]).or_else(|| find(&["trace_id"])))
            .with("workload_id", said(&["langgraph_node"]))
            .with("client_id", said(&["user_id"]))
            .between(row.get("start_time"), row.get("end_time"))
            .with("cost_usd", find(&["total_cost"]))
            .with("feedback", feedback(row.get("feedback_stats")))
            .counted(count(&row, &["prompt_tokens"]).or(usage.0), count(&row, &["completion_tokens"]).or(usage.1))
            .cached(usage.2)
            .tagged(&row, &["trace_id", "parent_run_id", "name", "tags", "first_token_time", "reference_example_id"])
            .read()
    }
}

/// The messages among the inputs; prompts of a completion model are a user's.
fn asked(inputs: Value) -> Value {
    let prompts = inputs["prompts"].as_array().and_then(|prompts| prompts.first()).cloned();
    match prompts {
        Some(prompt) => json!({"messages": [{"role": "user", "content": prompt}]}),
        None => inputs,
    }
}

/// Settings of the call that a chat body has too.
fn chosen(settings: &Value, metadata: &Value) -> Value {
    let keys = ["tools", "tool_choice", "response_format", "temperature", "top_p", "max_tokens", "stop", "seed", "n", "functions"];
    let mut chosen: Map<String, Value> =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), settings.get(*key).filter(|value| !is_nothing(value))?.clone()))).collect();
    for (from, to) in [("ls_temperature", "temperature"), ("ls_max_tokens", "max_tokens"), ("ls_stop", "stop")] {
        if let Some(value) = metadata.get(from).filter(|value| !is_nothing(value)) {
            chosen.entry(to).or_insert_with(|| value.clone());
        }
    }
    Value::Object(chosen)
}

/// Tokens of prompt and answer, and those of the prompt that were cached, where LangChain keeps them.
fn usage(outputs: &Value) -> (Option<u64>, Option<u64>, Option<u64>) {
    let message = &outputs["generations"][0][0]["message"]["kwargs"]["usage_metadata"];
    let total = &outputs["llm_output"]["token_usage"];
    let either = |new: &str, old: &str| message[new].as_u64().or_else(|| total[old].as_u64());
    let cached = message["input_token_details"]["cache_read"].as_u64();
    (either("input_tokens", "prompt_tokens"), either("output_tokens", "completion_tokens"), cached)
}

/// The mean of each kind of feedback.
fn feedback(stats: Option<&Value>) -> Option<Value> {
    let mean = |(key, value): (&String, &Value)| Some((key.clone(), value["avg"].as_f64()?.into()));
    let means: Map<String, Value> = stats?.as_object()?.iter().filter_map(mean).collect();
    (!means.is_empty()).then_some(Value::Object(means))
}
