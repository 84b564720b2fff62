//! Braintrust: spans of its logs and experiments.
//!
//! Source: Braintrust's export and API pages.
use record::Call;
use serde_json::{Map, Value};

use super::{Known, request};
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{Row, first, is_nothing};

pub struct Braintrust;

impl Shape for Braintrust {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        row.contains_key("span_attributes") && row.contains_key("root_span_id")
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let mut row = Row(row);
        let attributes = row.take_open(&["span_attributes"]);
        if attributes["type"] != "llm" {
            return Ok(Vec::new());
        }
        if let Some(error) = row.take("error") {
            return Err(Fault::failed("error", Some(&error)));
        }
        let (input, output) = (row.take_open(&["input"]), row.take("output").unwrap_or_default());
        for (field, body) in [("input", &input), ("output", &output)] {
            if is_nothing(body) {
                return Err(Fault::new(field, "there is none", "export whole spans"));
            }
        }
        let (mut metadata, metrics, scores) = (row.take_open(&["metadata"]), row.take_open(&["metrics"]), row.take_open(&["scores"]));
        let model = metadata.as_object_mut().and_then(|fields| fields.shift_remove("model"));
        let keys = ["tools", "tool_choice", "response_format", "temperature", "top_p", "max_tokens", "stop", "seed"];
        let settings: Map<String, Value> =
            keys.iter().filter_map(|key| Some(((*key).to_owned(), metadata.as_object_mut()?.shift_remove(*key)?))).collect();
        let row = row.0;
        let find = |keys: &[&str]| first(&row, keys).cloned();
        let tokens = |key: &str| metrics[key].as_u64();
        let start = metrics.get("start").or_else(|| row.get("created"));
        Known::new(request(input, model.as_ref(), Some(settings.into())), output)
            .with("source_id", find(&["id", "span_id"]))
            .with("conversation_id", metadata.get("session_id").cloned().or_else(|| find(&["root_span_id"])))
            .between(start, metrics.get("end"))
            .with("cost_usd", metrics.get("estimated_cost").cloned())
            .with("feedback", scores.as_object().filter(|scores| !scores.is_empty()).map(|scores| Value::Object(scores.clone())))
            .counted(tokens("prompt_tokens"), tokens("completion_tokens"))
            .cached(tokens("prompt_cached_tokens"))
            .with("tags", metadata.as_object().filter(|fields| !fields.is_empty()).map(|fields| Value::Object(fields.clone())))
            .tagged(&row, &["span_id", "root_span_id", "span_parents", "tags", "expected"])
            .read()
    }
}
