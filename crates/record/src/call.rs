//! One call of the large model: what was asked, what was answered, what it took.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Logprob, Message, Time, Tool, ToolCall};

/// A logged call in the project's one record format (one JSON object a line, see `docs/formats`).
///
/// `request` is an OpenAI chat body and `response` an OpenAI chat completion, kept as they came with
/// every field the log had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Identity of the call in its source. Unique within a log.
    pub source_id: String,
    /// The conversation (trace, session, episode) the call belongs to. The unit of scrubbing and splitting.
    pub conversation_id: String,
    /// Position in the conversation.
    #[serde(default)]
    pub step: u32,
    /// When the call was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Time>,
    /// The agent node that made the call, if the log says. A strong hint for the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_id: Option<String>,
    /// Who the call was made for (tenant, user, key). Origin: only its keyed hash is stored in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub response: Response,
    /// Wall time of the call in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Price of the call in US dollars, if the log says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Rewards, ratings and the like.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub feedback: Map<String, Value>,
    /// Anything else the log attached.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub tags: Map<String, Value>,
    /// What the source did not hold or the record cannot (`system`, `tools`, `media`, `time`, …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lossy: Vec<String>,
}

impl Call {
    /// What the log says of the conversation (`reward`, `success`) or, where it does not, of this call ([`Call::grade`]), as a share
    /// of one, if present.
    #[must_use]
    pub fn reward(&self) -> Option<f64> {
        self.outcome().or_else(|| self.grade())
    }

    /// What the log says of the whole conversation: `reward` or `success` of the feedback.
    #[must_use]
    pub fn outcome(&self) -> Option<f64> {
        self.stated(&["reward", "success"])
    }

    /// What the log says of this call alone: `score`, `rating`, `thumbs` or `thumbs_up` of the feedback.
    #[must_use]
    pub fn grade(&self) -> Option<f64> {
        self.stated(&["score", "rating", "thumbs", "thumbs_up"])
    }

    /// The first of these keys that holds a number; booleans and the words of thumbs count as 0 and 1.
    fn stated(&self, keys: &[&str]) -> Option<f64> {
        let number = |value: &Value| match value {
            Value::Bool(good) => Some(f64::from(u8::from(*good))),
            Value::String(word) => match word.to_lowercase().as_str() {
                "up" | "thumbs_up" | "positive" | "good" | "true" => Some(1.0),
                "down" | "thumbs_down" | "negative" | "bad" | "false" => Some(0.0),
                word => word.parse().ok().filter(|number: &f64| number.is_finite()),
            },
            value => value.as_f64(),
        };
        keys.iter().find_map(|key| self.feedback.get(*key).and_then(number))
    }

    /// The model that answered: the one served, else the one requested.
    #[must_use]
    pub fn model(&self) -> &str {
        let served = self.response.model();
        if served.is_empty() { self.request.model() } else { served }
    }
}

/// An OpenAI chat body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Request(pub Value);

impl Request {
    /// The model asked for, or an empty string.
    #[must_use]
    pub fn model(&self) -> &str {
        self.0.get("model").and_then(Value::as_str).unwrap_or_default()
    }

    /// The messages in order.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = Message<'_>> {
        let messages = self.0.get("messages").and_then(Value::as_array);
        messages.map(Vec::as_slice).unwrap_or_default().iter().map(Message)
    }

    /// Text of all system and developer messages, joined by newlines.
    #[must_use]
    pub fn system(&self) -> String {
        let parts: Vec<_> = self.messages().filter(|m| matches!(m.role(), "system" | "developer")).map(|m| m.text().into_owned()).collect();
        parts.join("\n")
    }

    /// Text of the first user message, or an empty string.
    #[must_use]
    pub fn first_user(&self) -> String {
        self.messages().find(|m| m.role() == "user").map(|m| m.text().into_owned()).unwrap_or_default()
    }

    /// Text of the last user message, or an empty string.
    #[must_use]
    pub fn last_user(&self) -> String {
        self.messages().rfind(|m| m.role() == "user").map(|m| m.text().into_owned()).unwrap_or_default()
    }

    /// The tools offered, in order.
    pub fn tools(&self) -> impl Iterator<Item = Tool<'_>> {
        let tools = self.0.get("tools").and_then(Value::as_array);
        tools.map(Vec::as_slice).unwrap_or_default().iter().map(Tool)
    }

    /// The JSON schema the answer must satisfy, if the request states one (`response_format`).
    #[must_use]
    pub fn schema(&self) -> Option<&Value> {
        self.0.pointer("/response_format/json_schema/schema").or_else(|| self.0.pointer("/response_format/schema"))
    }

    /// Whether the request asks for JSON, with or without a schema.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        matches!(self.0.pointer("/response_format/type").and_then(Value::as_str), Some("json_object" | "json_schema"))
    }
}

/// An OpenAI chat completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Response(pub Value);

impl Response {
    /// A completion that holds one assistant message.
    #[must_use]
    pub fn from_message(message: &Value) -> Self {
        Self(serde_json::json!({"object": "chat.completion", "choices": [{"index": 0, "message": message}]}))
    }

    /// The model that answered, or an empty string.
    #[must_use]
    pub fn model(&self) -> &str {
        self.0.get("model").and_then(Value::as_str).unwrap_or_default()
    }

    /// The first choice's message.
    #[must_use]
    pub fn message(&self) -> Option<Message<'_>> {
        self.0.pointer("/choices/0/message").map(Message)
    }

    /// Text of the first choice, or an empty string.
    #[must_use]
    pub fn text(&self) -> String {
        self.message().map(|m| m.text().into_owned()).unwrap_or_default()
    }

    /// Tool calls of the first choice.
    #[must_use]
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        self.message().map(|m| m.tool_calls()).unwrap_or_default()
    }

    /// Why the answer ended (`stop`, `length`, `tool_calls`, `content_filter`, …).
    #[must_use]
    pub fn finish_reason(&self) -> Option<&str> {
        self.0.pointer("/choices/0/finish_reason").and_then(Value::as_str)
    }

    /// The tokens of the first choice with their log-probabilities; none where the log has none, or has them in part.
    #[must_use]
    pub fn logprobs(&self) -> Option<Vec<Logprob>> {
        let entries = self.0.pointer("/choices/0/logprobs/content")?.as_array()?;
        entries.iter().map(Logprob::from_openai).collect::<Option<Vec<_>>>().filter(|tokens| !tokens.is_empty())
    }

    /// Tokens counted by the provider.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let count = |path: &str| self.0.pointer(path).and_then(Value::as_u64);
        Usage {
            prompt: count("/usage/prompt_tokens"),
            completion: count("/usage/completion_tokens"),
            cached: count("/usage/prompt_tokens_details/cached_tokens"),
        }
    }
}

/// Tokens of one call as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub prompt: Option<u64>,
    /// Answer tokens, reasoning included.
    pub completion: Option<u64>,
    /// The part of `prompt` that was read from the provider's cache.
    pub cached: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::Call;
    use serde_json::json;

    #[test]
    fn feedback_is_of_the_conversation_or_of_the_call() {
        let of = |feedback| {
            let row = json!({"source_id": "s", "conversation_id": "c", "request": {}, "response": {}, "feedback": feedback});
            let call: Call = serde_json::from_value(row).expect("the record has every required field");
            (call.outcome(), call.grade(), call.reward())
        };
        assert_eq!(of(json!({"reward": 0.5, "rating": 4})), (Some(0.5), Some(4.0), Some(0.5)));
        assert_eq!(of(json!({"thumbs": "down"})), (None, Some(0.0), Some(0.0)));
        assert_eq!(of(json!({"thumbs_up": true, "success": null})), (None, Some(1.0), Some(1.0)));
        assert_eq!(of(json!({"score": "0.75"})), (None, Some(0.75), Some(0.75)));
        assert_eq!(of(json!({"comment": "fine", "rating": "?"})), (None, None, None));
    }
}
