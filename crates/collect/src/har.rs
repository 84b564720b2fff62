//! HAR: what a browser or mitmproxy recorded of HTTP. Bodies of the APIs of models are calls, all other traffic is none. Headers,
//! cookies and queries, where keys stand, are dropped before anything else is looked at.
//!
//! Source: the HAR 1.2 specification; mitmproxy `savehar.py`.
use base64::Engine;
use record::Call;
use serde_json::{Map, Value};

use crate::export::Known;
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::parsed;

pub struct Har;

/// Takes out of an exchange what may hold keys: no step sees it, no reject keeps it.
pub fn strip(exchange: &mut Map<String, Value>) -> bool {
    if exchange.get("request").is_none_or(|request| !request["url"].is_string()) {
        return false;
    }
    for side in ["request", "response"] {
        let Some(Value::Object(side)) = exchange.get_mut(side) else { continue };
        for key in ["headers", "cookies", "queryString", "redirectURL"] {
            side.shift_remove(key);
        }
        if let Some(Value::String(url)) = side.get_mut("url")
            && let Some(end) = url.find(['?', '#'])
        {
            url.truncate(end);
        }
    }
    true
}

/// The exchanges of a recording; none if it is none.
pub fn unpack(document: &Map<String, Value>) -> Option<Vec<Map<String, Value>>> {
    let entries = document.get("log")?.get("entries")?.as_array()?;
    Some(entries.iter().filter_map(Value::as_object).cloned().collect())
}

impl Shape for Har {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        row.contains_key("startedDateTime") && row.get("request").is_some_and(|request| request["url"].is_string())
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let side = |key: &str| row.get(key).unwrap_or(&Value::Null);
        let (request, response) = (side("request"), side("response"));
        let path = request["url"].as_str().unwrap_or_default();
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if request["method"] != "POST" || !is_model(path) {
            return Ok(Vec::new());
        }
        let sent = parsed(request["postData"]["text"].clone());
        // other services have addresses of these names too
        if sent.is_object() && !["model", "messages", "input", "contents", "prompt"].iter().any(|key| sent.get(*key).is_some()) {
            return Ok(Vec::new());
        }
        match response["status"].as_u64() {
            Some(200..300) => {}
            status => return Err(Fault::failed("response.status", Some(&format!("status {}", status.unwrap_or_default()).into()))),
        }
        let Value::Object(mut sent) = sent else {
            let cure = "record request bodies too (`mitmdump --set hardump=FILE` does)";
            return Err(Fault::new("request.postData.text", "it is no JSON", cure));
        };
        if let Some(model) = model(path) {
            sent.entry("model").or_insert_with(|| model.into());
        }
        let content = &response["content"];
        let mut text = content["text"].as_str().unwrap_or_default().to_owned();
        if content["encoding"] == "base64" {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
            let decoded = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text = decoded.ok_or_else(|| Fault::new("response.content.text", "it is no text in base64", "record the answer decoded"))?;
        }
        if text.is_empty() {
            return Err(Fault::new("response.content.text", "there is none", "record answers too, streams to their end"));
        }
        let answer = Value::String(text);
        // a body, unless it is a stream
        let answer = match parsed(answer.clone()) {
            body @ Value::Object(_) => body,
            _ => answer,
        };
        Known::new(Value::Object(sent), answer)
            .with("timestamp", row.get("startedDateTime").cloned())
            .with("latency_ms", row.get("time").filter(|time| time.as_f64().is_some_and(|time| time >= 0.0)).cloned())
            .read()
    }
}

/// Whether a path is an API of models that answers with text.
fn is_model(path: &str) -> bool {
    let ends = ["/chat/completions", "/completions", "/responses", "/messages", "/api/chat", "/v2/chat", "/converse", "/converse-stream"];
    let bedrock = path.contains("/model/") && (path.ends_with("/invoke") || path.ends_with("/invoke-with-response-stream"));
    ends.iter().any(|end| path.ends_with(end)) || path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") || bedrock
}

/// The model that a path names.
fn model(path: &str) -> Option<String> {
    let after = |mark: &str| path.split_once(mark).map(|(_, rest)| rest.split(['/', ':']).next().unwrap_or_default().to_owned());
    // ids of Bedrock hold a colon
    let bedrock = || path.split_once("/model/").map(|(_, rest)| rest.split('/').next().unwrap_or_default().replace("%3A", ":"));
    after("/deployments/").or_else(bedrock).or_else(|| after("/models/"))
}
