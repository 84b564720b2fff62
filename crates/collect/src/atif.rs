//! ATIF, the Agent Trajectory Interchange Format: a trajectory of steps, of which each one of the agent is a call that was given all
//! steps before it.
//!
//! Source: Harbor's ATIF v1.0 to 1.7, as the client of Phoenix has it.
use record::Call;
use serde_json::{Map, Value, json};

use crate::api::chat::tool_call;
use crate::export::Known;
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::is_nothing;

pub struct Atif;

impl Shape for Atif {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        row.get("schema_version").and_then(Value::as_str).is_some_and(|version| version.starts_with("ATIF-"))
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let Some(steps) = row.get("steps").and_then(Value::as_array) else {
            return Err(Fault::new("steps", "there are none", "write the trajectory with its steps"));
        };
        let (agent, session) = (row.get("agent").unwrap_or(&Value::Null), row.get("session_id"));
        // a trajectory that was continued in another file is one conversation
        let session = session.and_then(Value::as_str).map(|name| name.split("-cont-").next().unwrap_or(name).to_owned());
        let (mut messages, mut calls) = (Vec::new(), Vec::new());
        for (at, step) in steps.iter().enumerate() {
            let said = message(step);
            let copied = step["is_copied_context"] == true;
            let called = step["source"] == "agent" && step["llm_call_count"].as_u64() != Some(0) && !copied && !messages.is_empty();
            if called && !(is_nothing(&said["content"]) && said.get("tool_calls").is_none()) {
                let found = call(agent, step, &messages, &said)
                    .with("source_id", session.as_ref().map(|session| format!("{session}/{}", id(step, at))))
                    .with("conversation_id", session.clone())
                    .read()
                    .map_err(|fault| Fault { field: format!("steps[{at}].{}", fault.field), ..fault })?;
                calls.extend(found);
            }
            messages.push(said);
            messages.extend(results(step));
        }
        for (at, inner) in row.get("subagent_trajectories").and_then(Value::as_array).into_iter().flatten().enumerate() {
            if let Some(inner) = inner.as_object().filter(|inner| inner.contains_key("steps")) {
                let fault = |fault: Fault| Fault { field: format!("subagent_trajectories[{at}].{}", fault.field), ..fault };
                calls.extend(self.read(inner.clone()).map_err(fault)?);
            }
        }
        Ok(calls)
    }
}

fn id(step: &Value, at: usize) -> String {
    step["step_id"].as_u64().map_or_else(|| step["step_id"].as_str().map_or_else(|| at.to_string(), ToOwned::to_owned), |id| id.to_string())
}

fn call(agent: &Value, step: &Value, messages: &[Value], said: &Value) -> Known {
    let model = [&step["model_name"], &agent["model_name"]].into_iter().find(|model| model.is_string());
    let mut request = json!({"model": model, "messages": messages});
    if !is_nothing(&agent["tool_definitions"]) {
        request["tools"] = agent["tool_definitions"].clone();
    }
    let lossy: Vec<&str> = [
        ("tools", is_nothing(&agent["tool_definitions"])),
        // several calls of the model are one step
        ("calls", step["llm_call_count"].as_u64().is_some_and(|count| count > 1)),
    ]
    .into_iter()
    .filter_map(|(what, lost)| lost.then_some(what))
    .collect();
    let metrics = &step["metrics"];
    Known::new(request, json!({"choices": [{"index": 0, "message": said}]}))
        .with("timestamp", step.get("timestamp").cloned())
        .with("workload_id", agent.get("name").cloned())
        .with("cost_usd", metrics.get("cost_usd").cloned())
        .with("lossy", (!lossy.is_empty()).then(|| json!(lossy)))
        .counted(metrics["prompt_tokens"].as_u64(), metrics["completion_tokens"].as_u64())
        .cached(metrics["cached_tokens"].as_u64())
}

/// A step as a message.
fn message(step: &Value) -> Value {
    let role = match step["source"].as_str() {
        Some("agent") => "assistant",
        Some("system") => "system",
        _ => "user",
    };
    let mut message = json!({"role": role, "content": step["message"]});
    if let Some(thoughts) = step["reasoning_content"].as_str() {
        message["reasoning_content"] = thoughts.into();
    }
    let calls = step["tool_calls"].as_array().into_iter().flatten();
    let calls: Vec<Value> =
        calls.map(|call| tool_call(call["tool_call_id"].clone(), call["function_name"].clone(), call["arguments"].to_string())).collect();
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    message
}

/// What the tools of a step answered.
fn results(step: &Value) -> Vec<Value> {
    let results = step["observation"]["results"].as_array().into_iter().flatten();
    let content = |result: &Value| match &result["content"] {
        Value::String(text) => Value::String(text.clone()),
        Value::Null => "".into(),
        parts => parts.clone(),
    };
    results
        .map(|result| match result["source_call_id"].as_str() {
            Some(id) => json!({"role": "tool", "tool_call_id": id, "content": content(result)}),
            None => json!({"role": "user", "content": content(result)}),
        })
        .collect()
}
