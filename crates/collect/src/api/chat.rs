//! Pieces of chat bodies, which every other API's bodies are turned into. Knows OpenAI's shape and no dialect.
use serde_json::{Map, Value, json};

use crate::pair::mark;

/// What an assistant said, as it is found piece by piece.
#[derive(Default)]
pub struct Said {
    pub text: String,
    pub thoughts: String,
    pub calls: Vec<Value>,
}

impl Said {
    /// The assistant's message. Beside calls, no text is null.
    pub fn message(self) -> Value {
        let content = if self.text.is_empty() && !self.calls.is_empty() { Value::Null } else { self.text.into() };
        let mut message = json!({"role": "assistant", "content": content});
        if !self.thoughts.is_empty() {
            message["reasoning_content"] = self.thoughts.into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into();
        }
        message
    }
}

/// A tool call with its arguments as JSON text.
pub fn tool_call(id: impl Into<Value>, name: impl Into<Value>, arguments: impl Into<Value>) -> Value {
    json!({"id": id.into(), "type": "function", "function": {"name": name.into(), "arguments": arguments.into()}})
}

/// Whether a message holds neither text nor tool calls.
pub fn is_empty(message: &Value) -> bool {
    message.get("tool_calls").is_none() && message["content"].as_str().is_none_or(str::is_empty)
}

/// The texts of parts, a line each.
pub fn texts<'a>(parts: impl IntoIterator<Item = &'a Value>) -> String {
    parts.into_iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
}

/// Parts as a message's content: text where all are text, else a list in which those that are none stay as they came.
pub fn content(parts: &[&Value], lossy: &mut Vec<String>) -> Value {
    if parts.iter().all(|part| part["text"].is_string()) {
        return texts(parts.iter().copied()).into();
    }
    mark(lossy, "media", true);
    let chat = |part: &&Value| part.get("text").map_or_else(|| (*part).clone(), |text| json!({"type": "text", "text": text}));
    parts.iter().map(chat).collect()
}

/// A request that begins as people expect it to.
pub fn request(model: Option<Value>, messages: Value) -> Map<String, Value> {
    let model = model.map(|model| ("model".to_owned(), model));
    model.into_iter().chain([("messages".to_owned(), messages)]).collect()
}

/// A completion of these choices; of the response it keeps the fields that `names` has, under their name here.
pub fn completion(response: &mut Map<String, Value>, names: &[(&str, &str)], choices: Value, usage: Option<Value>) -> Value {
    let mut completion = Map::new();
    for (from, to) in names {
        if let Some(value) = response.shift_remove(*from) {
            completion.insert((*to).to_owned(), value);
        }
    }
    completion.insert("object".to_owned(), "chat.completion".into());
    completion.insert("choices".to_owned(), choices);
    completion.extend(usage.map(|usage| ("usage".to_owned(), usage)));
    Value::Object(completion)
}

/// Tokens of a prompt, cached ones included, and of its answer, thoughts included.
pub fn usage(prompt: u64, completion: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt.saturating_add(completion)})
}

/// A finish reason in OpenAI's words, whoever's it is.
pub fn finish(reason: &Value) -> Value {
    let Some(name) = reason.as_str() else { return Value::Null };
    match name.to_lowercase().replace('-', "_").as_str() {
        "stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "complete" | "finished" => "stop",
        "length" | "max_tokens" | "max_output_tokens" | "max_length" => "length",
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => "tool_calls",
        "content_filter" | "content_filtered" | "refusal" | "safety" | "guardrail_intervened" | "recitation" => "content_filter",
        "pause_turn" | "pause" => "pause",
        _ => return reason.clone(),
    }
    .into()
}
