//! Batches of OpenAI and Anthropic: what was asked stands in one file and what was answered in another, in any order, joined by
//! `custom_id`.
//!
//! Source: openai/openai-openapi `BatchRequestInput`, `BatchRequestOutput`; Anthropic's message batches.
use record::Call;
use serde_json::{Map, Value};

use crate::export::Known;
use crate::fault::Fault;
use crate::format::{Part, Shape};

pub struct Batch;

/// Where a part of a batch keeps its request or its answer.
fn side(row: &Map<String, Value>) -> Option<Side> {
    row.get("custom_id")?.as_str()?;
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    match () {
        () if row.get("result").is_some_and(|result| result["type"].is_string()) => Some(Side::Answered),
        () if row.get("response").is_some_and(|response| response.get("body").is_some()) => Some(Side::Answered),
        () if has("error") && row.contains_key("response") => Some(Side::Answered),
        () if has("body") && has("url") => Some(Side::Asked),
        () if row.get("params").is_some_and(|params| params["messages"].is_array()) => Some(Side::Asked),
        () => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Asked,
    Answered,
}

impl Shape for Batch {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        side(row).is_some()
    }

    fn part(&self, row: &Map<String, Value>) -> Option<Part> {
        Some(Part { key: row.get("custom_id")?.as_str()?.to_owned(), file_alone: false })
    }

    fn is_whole(&self, parts: &mut dyn Iterator<Item = &Map<String, Value>>) -> bool {
        let sides: Vec<_> = parts.map(side).collect();
        [Side::Asked, Side::Answered].iter().all(|wanted| sides.contains(&Some(*wanted)))
    }

    fn join(&self, parts: Vec<Map<String, Value>>) -> Result<Vec<Call>, Fault> {
        let (mut asked, mut answered): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| side(part) == Some(Side::Asked));
        if asked.len() > 1 || answered.len() > 1 {
            let cure = "collect one batch with its output at a time";
            return Err(Fault::new("custom_id", "several batches use this name, and nothing tells which answer is whose", cure));
        }
        let (missing, file) = if asked.is_empty() { ("request", "input") } else { ("answer", "output") };
        let cure = format!("collect the batch's {file} file together with this one");
        let alone = Fault::new("custom_id", format!("the {missing} of this name is in none of the files that were read"), cure);
        let (Some(mut asked), Some(mut answered)) = (asked.pop(), answered.pop()) else {
            return Err(alone);
        };
        let request = ["body", "params"].iter().find_map(|key| asked.shift_remove(*key)).unwrap_or_default();
        if let Some(error) = answered.get("error").filter(|error| !error.is_null()) {
            return Err(Fault::failed("error", Some(error)));
        }
        let response = match (answered.shift_remove("response"), answered.shift_remove("result")) {
            (Some(Value::Object(mut response)), _) => response.shift_remove("body").unwrap_or_default(),
            (_, Some(Value::Object(mut result))) if result.get("type").is_some_and(|kind| kind == "succeeded") => {
                result.shift_remove("message").unwrap_or_default()
            }
            (_, result) => {
                return Err(Fault::failed("result", result.as_ref().map(|result| result.get("error").unwrap_or(&result["type"]))));
            }
        };
        Known::new(request, response).tagged(&asked, &["custom_id"]).read()
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        self.join(vec![row])
    }
}
