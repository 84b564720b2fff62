//! LiteLLM: payloads of its logging callbacks (`StandardLoggingPayload`) and rows of its table `LiteLLM_SpendLogs`.
//!
//! Source: LiteLLM's logging specification and its `schema.prisma`.
use record::Call;
use serde_json::{Map, Value};

use super::{Known, request};
use crate::fault::Fault;
use crate::format::Shape;
use crate::row::{Row, count, first, is_nothing};

pub struct Litellm;

/// Calls of a model with a text for an answer; embeddings, images and speech are none.
const CALLS: [&str; 6] = ["completion", "acompletion", "anthropic_messages", "responses", "aresponses", "text_completion"];

impl Shape for Litellm {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        row.contains_key("call_type") && ["spend", "response_cost", "startTime"].iter().any(|key| row.contains_key(*key))
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let kind = row.get("call_type").and_then(Value::as_str).unwrap_or_default();
        if !CALLS.contains(&kind) && !CALLS.contains(&kind.trim_start_matches('a')) {
            return Ok(Vec::new());
        }
        if row.get("status").and_then(Value::as_str) == Some("failure") {
            return Err(Fault::failed("status", first(&row, &["error_str", "error_information"])));
        }
        let mut row = Row(row);
        let mut messages = row.take_open(&["messages"]);
        let response = row.take_open(&["response"]);
        let sent = row.take_open(&["proxy_server_request"]);
        if is_nothing(&messages) {
            messages = sent.get("body").filter(|_| sent.is_object()).cloned().unwrap_or(sent);
        }
        if [&messages, &response].iter().any(|body| body.to_string().contains("redacted-by-litellm")) {
            let cure = "set `litellm_settings.turn_off_message_logging: false` and log again";
            return Err(Fault::new("messages", "LiteLLM has redacted the content", cure));
        }
        let cure = "set `general_settings.store_prompts_in_spend_logs: true` and log again";
        for (field, body) in [("messages", &messages), ("response", &response)] {
            if is_nothing(body) {
                return Err(Fault::new(field, "the log holds no content of this call", cure));
            }
        }
        let settings = row.take("model_parameters");
        let row = row.0;
        let find = |keys: &[&str]| first(&row, keys).cloned();
        Known::new(request(messages, row.get("model"), settings), response)
            .with("source_id", find(&["id", "request_id", "call_id"]))
            .with("conversation_id", find(&["session_id", "trace_id"]))
            .with("client_id", find(&["end_user", "user"]))
            .with("cost_usd", find(&["response_cost", "spend"]))
            .between(row.get("startTime"), row.get("endTime"))
            .counted(count(&row, &["prompt_tokens"]), count(&row, &["completion_tokens"]))
            .tagged(&row, &["trace_id", "custom_llm_provider", "model_group", "request_tags", "cache_hit", "metadata"])
            .read()
    }
}
