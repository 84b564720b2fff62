//! OpenAI fine-tuning rows: `{messages, tools?}`.
//!
//! Every assistant message whose `weight` is not 0 is an answer someone chose to teach, so each becomes a call: what
//! stands before it is the request. Such rows know no time, price, latency or model, and the conversation is told by
//! what it began with, as for pairs.
use record::{Call, Request, Response};
use serde_json::{Map, Value};

use crate::api::openai::{check_messages, modern_tools};
use crate::fault::Fault;
use crate::format::Shape;
use crate::pair::{conversation_of, mark, row_hash};

pub struct OpenaiFinetune;

impl Shape for OpenaiFinetune {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        row.get("messages").is_some_and(Value::is_array) && !row.contains_key("request") && !row.contains_key("response")
    }

    fn read(&self, mut row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let id = row_hash(&row);
        let mut lossy = Vec::new();
        check_messages(row.get_mut("messages"), "messages", &mut lossy)?;
        modern_tools(&mut row);
        let messages = match row.shift_remove("messages") {
            Some(Value::Array(messages)) => messages,
            _ => Vec::new(),
        };
        mark(&mut lossy, "time", true);
        mark(&mut lossy, "model", !row.contains_key("model"));
        let taught = |message: &Value| message["role"] == "assistant" && message.get("weight").and_then(Value::as_f64) != Some(0.0);
        let answers: Vec<_> = messages.iter().enumerate().filter(|(at, message)| *at > 0 && taught(message)).collect();
        if answers.is_empty() {
            let cure = "add the answer as the last message, with role `assistant`";
            return Err(Fault::new("messages", "no message is an answer to learn from", cure));
        }
        let calls = answers.into_iter().enumerate().map(|(step, (at, answer))| {
            let request = Request(request(&row, &messages[..at]));
            Call {
                source_id: format!("{id}:{at}"),
                conversation_id: conversation_of(&request),
                step: u32::try_from(step).unwrap_or(u32::MAX),
                timestamp: None,
                workload_id: None,
                client_id: None,
                response: Response::from_message(&without_weight(answer)),
                request,
                latency_ms: None,
                cost_usd: None,
                feedback: Map::new(),
                tags: Map::new(),
                lossy: lossy.clone(),
            }
        });
        Ok(calls.collect())
    }
}

fn request(row: &Map<String, Value>, messages: &[Value]) -> Value {
    let mut request = Map::new();
    request.insert("messages".to_owned(), messages.iter().map(without_weight).collect());
    request.extend(row.iter().map(|(key, value)| (key.clone(), value.clone())));
    Value::Object(request)
}

/// `weight` is the trainer's word, not part of the conversation.
fn without_weight(message: &Value) -> Value {
    let mut message = message.clone();
    if let Value::Object(fields) = &mut message {
        fields.shift_remove("weight");
    }
    message
}
