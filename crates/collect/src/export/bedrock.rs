//! Amazon Bedrock's model invocation log, as it lies in S3: one object a line, bodies of Converse or of the model's own API.
//!
//! Source: docs.aws.amazon.com/bedrock, model invocation logging.
use record::Call;
use serde_json::{Map, Value, json};

use super::Known;
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{first, is_nothing, parsed};

pub struct Bedrock;

impl Shape for Bedrock {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        row.get("schemaType").and_then(Value::as_str) == Some("ModelInvocationLog")
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        if let Some(code) = first(&row, &["errorCode"]) {
            return Err(Fault::failed("errorCode", Some(code)));
        }
        let model = row.get("modelId").cloned().unwrap_or_default();
        if model.as_str().is_some_and(|model| model.contains("embed")) {
            return Ok(Vec::new());
        }
        let mut bodies = [Value::Null, Value::Null];
        for (body, side) in bodies.iter_mut().zip(["input", "output"]) {
            let half = row.get(side).unwrap_or(&Value::Null);
            let found = parsed(half[format!("{side}BodyJson")].clone());
            if is_nothing(&found) {
                let path = half[format!("{side}BodyS3Path")].as_str().and_then(|path| path.rsplit('/').next());
                let problem = path.map_or_else(
                    || "the log holds no body".to_owned(),
                    |name| format!("the body is too large for the log and lies in an object of its own, `{name}`"),
                );
                let cure = if path.is_some() {
                    "put the object's JSON in place of the path"
                } else {
                    "turn on text data delivery in Bedrock's model invocation logging"
                };
                return Err(Fault::new(format!("{side}.{side}BodyJson"), problem, cure));
            }
            *body = found;
        }
        let [mut request, mut response] = bodies;
        if let Some(body) = request.as_object_mut() {
            body.entry("model").or_insert_with(|| model.clone());
        }
        if response["generation"].is_string() {
            response = json!({"choices": [{"index": 0, "finish_reason": response["stop_reason"], "message": {"content": response["generation"]}}]});
        }
        let tokens = |side: &str| row.get(side).and_then(|half| half[format!("{side}TokenCount")].as_u64());
        Known::new(request, response)
            .with("source_id", row.get("requestId").cloned())
            .with("timestamp", row.get("timestamp").cloned())
            .with("client_id", row.get("identity").map(|identity| identity["arn"].clone()))
            .counted(tokens("input"), tokens("output"))
            .tagged(&row, &["operation", "region", "inferenceRegion", "requestMetadata"])
            .read()
    }
}
