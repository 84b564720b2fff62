//! Langfuse: observations as its interface, its API, its event export and its blob storage export write them.
//!
//! Source: langfuse/langfuse, `observation-field-groups.ts`, `observations_converters.ts`; its export pages.
use record::Call;
use serde_json::{Map, Value};

use super::{Known, request};
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{Row, count, first, parsed};

pub struct Langfuse;

impl Shape for Langfuse {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let has = |keys: &[&str]| keys.iter().any(|key| row.contains_key(*key));
        let parent = has(&["parentObservationId", "parent_observation_id"]);
        let observation = parent || has(&["completionStartTime", "completion_start_time", "providedModelName", "provided_model_name"]);
        has(&["traceId", "trace_id"]) && has(&["type"]) && has(&["input", "output"]) && observation
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        // spans, events, tools and the like give structure and hold no call
        if row.get("type").and_then(Value::as_str).is_some_and(|kind| !kind.eq_ignore_ascii_case("generation")) {
            return Ok(Vec::new());
        }
        if row.get("level").and_then(Value::as_str) == Some("ERROR") {
            return Err(Fault::failed("level", first(&row, &["statusMessage", "status_message"])));
        }
        let mut row = Row(row);
        let (input, output) = (row.take("input"), row.take("output"));
        let cure = "export input and output too; in the SDK, capture them (`capture_input`, `capture_output`)";
        let input = input.ok_or_else(|| Fault::new("input", "there is none", cure))?;
        let output = output.ok_or_else(|| Fault::new("output", "there is none", cure))?;
        let settings = row.take_open(&["modelParameters", "model_parameters"]);
        let usage = row.take_open(&["usageDetails", "usage_details", "usage"]);
        let feedback = scores(row.take_open(&["scores"]));
        let row = row.0;
        let tools = first(&row, &["toolDefinitions", "tool_definitions"]).cloned().map(parsed);
        let mut request = request(input, first(&row, &["model", "providedModelName", "provided_model_name"]), Some(settings));
        if let (Some(tools @ Value::Array(_)), Value::Object(body)) = (tools, &mut request) {
            body.entry("tools").or_insert(tools);
        }
        let find = |keys: &[&str]| first(&row, keys).cloned();
        let tokens = |inside: &str, flat: &[&str]| usage.get(inside).and_then(Value::as_u64).or_else(|| count(&row, flat));
        let cached = ["input_cached_tokens", "cache_read_input_tokens", "input_cache_read"].iter().find_map(|key| usage[*key].as_u64());
        Known::new(request, output)
            .with("source_id", find(&["id"]))
            .with("conversation_id", find(&["sessionId", "session_id", "traceId", "trace_id"]))
            .with("workload_id", find(&["promptName", "prompt_name"]))
            .with("client_id", find(&["userId", "user_id"]))
            .between(first(&row, &["startTime", "start_time"]), first(&row, &["endTime", "end_time"]))
            .with("cost_usd", find(&["totalCost", "total_cost", "calculatedTotalCost"]))
            .with("feedback", feedback)
            .counted(tokens("input", &["inputUsage", "promptTokens"]), tokens("output", &["outputUsage", "completionTokens"]))
            .cached(cached)
            .tagged(&row, &["traceId", "trace_id", "parentObservationId", "parent_observation_id", "name", "traceName", "metadata", "tags"])
            .tagged(&row, &["traceTags", "release", "environment", "promptVersion", "prompt_version"])
            .read()
    }
}

/// Scores by name, from a list of them or an object.
fn scores(scores: Value) -> Option<Value> {
    let named = match scores {
        Value::Object(scores) => scores,
        Value::Array(list) => {
            let score = |score: &Value| Some((score["name"].as_str()?.to_owned(), score.get("value")?.clone()));
            list.iter().filter_map(score).collect()
        }
        _ => Map::new(),
    };
    (!named.is_empty()).then_some(Value::Object(named))
}
