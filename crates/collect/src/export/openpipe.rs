//! OpenPipe: rows of its table `LoggedCall` (`reqPayload`, `respPayload`), and datasets of `{input: {messages}, output}`.
use record::Call;
use serde_json::{Map, Value};

use super::Known;
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{Row, count, first};

pub struct Openpipe;

impl Shape for Openpipe {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let dataset = row.get("input").is_some_and(|input| input["messages"].is_array())
            && row.get("output").is_some_and(|output| output.get("role").is_some());
        row.contains_key("reqPayload") || dataset
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        if let Some(status) = first(&row, &["statusCode"]).and_then(Value::as_i64).filter(|status| !(200..300).contains(status)) {
            return Err(Fault::failed("statusCode", Some(&first(&row, &["errorMessage"]).cloned().unwrap_or_else(|| status.into()))));
        }
        let mut row = Row(row);
        let (request, response) = (row.take_open(&["reqPayload", "input"]), row.take_open(&["respPayload", "output"]));
        let row = row.0;
        let find = |keys: &[&str]| first(&row, keys).cloned();
        let prompt = row.get("tags").and_then(|tags| tags.get("prompt_id")).cloned();
        Known::new(request, response)
            .with("source_id", find(&["id"]))
            .between(first(&row, &["requestedAt"]), first(&row, &["receivedAt"]))
            .with("workload_id", prompt)
            .with("cost_usd", find(&["cost"]))
            .counted(count(&row, &["inputTokens"]), count(&row, &["outputTokens"]))
            .with("tags", row.get("tags").filter(|tags| tags.is_object()).cloned())
            .tagged(&row, &["split", "metadata"])
            .read()
    }
}
