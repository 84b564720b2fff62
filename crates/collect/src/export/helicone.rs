//! Helicone: rows of its request export, bodies included.
//!
//! Source: Helicone's request API and `@helicone/export`.
use record::Call;
use serde_json::{Map, Value};

use super::Known;
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{Row, count, first, parsed};

pub struct Helicone;

impl Shape for Helicone {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        let has = |key: &str| row.contains_key(key);
        has("request_id") && has("request_created_at") && (has("request_body") || has("signed_body_url") || has("request_path"))
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let mut row = Row(row);
        let (mut request, response) = (row.take_open(&["request_body"]), row.take_open(&["response_body"]));
        let mut row = row.0;
        if let Some(status) = first(&row, &["response_status"]).and_then(Value::as_i64).filter(|status| !(200..300).contains(status)) {
            return Err(Fault::failed("response_status", Some(&format!("status {status}").into())));
        }
        let cure = "export with bodies: `npx @helicone/export --include-body`";
        for (field, body) in [("request_body", &request), ("response_body", &response)] {
            if body.is_null() || body.get("helicone_message").is_some() {
                return Err(Fault::new(field, "the export holds no bodies", cure));
            }
        }
        let properties = ["properties", "request_properties"].iter().find_map(|key| row.get(*key).cloned()).map(parsed).unwrap_or_default();
        let property = |key: &str| properties.get(key).cloned();
        let model = first(&row, &["request_model", "model_override", "response_model"]).filter(|model| model.is_string());
        if let (Some(body), Some(model)) = (request.as_object_mut(), model) {
            body.entry("model").or_insert_with(|| model.clone());
        }
        let feedback = feedback(&mut row);
        let find = |keys: &[&str]| first(&row, keys).cloned();
        Known::new(request, response)
            .with("source_id", find(&["request_id"]))
            .with("conversation_id", property("Helicone-Session-Id"))
            .with("workload_id", property("Helicone-Session-Path").or_else(|| find(&["prompt_id"])))
            .with("client_id", find(&["request_user_id"]))
            .between(row.get("request_created_at"), row.get("response_created_at"))
            .with("latency_ms", find(&["delay_ms"]))
            .with("cost_usd", find(&["cost", "costUSD"]))
            .with("feedback", feedback)
            .counted(count(&row, &["prompt_tokens"]), count(&row, &["completion_tokens"]))
            .cached(count(&row, &["prompt_cache_read_tokens"]))
            .tagged(&row, &["provider", "time_to_first_token", "properties", "request_properties", "cache_reference_id", "prompt_version"])
            .read()
    }
}

/// Ratings and scores of a request.
fn feedback(row: &mut Map<String, Value>) -> Option<Value> {
    let mut feedback = match row.shift_remove("scores").map(parsed) {
        Some(Value::Object(scores)) => scores,
        _ => Map::new(),
    };
    if let Some(rating) = row.shift_remove("feedback_rating").filter(|rating| !rating.is_null()) {
        feedback.insert("thumbs_up".to_owned(), rating);
    }
    (!feedback.is_empty()).then_some(Value::Object(feedback))
}
