//! Rows that other tools write around the calls of a model, read as pairs: what is known about a call, and its two bodies in whatever
//! shape the tool keeps them. One file a tool. Knows no file.
pub mod bedrock;
pub mod braintrust;
pub mod helicone;
pub mod langfuse;
pub mod langsmith;
pub mod litellm;
pub mod openpipe;
pub mod tensorzero;

use record::Call;
use serde_json::{Map, Value, json};

use crate::api::chat::usage;
use crate::api::{anthropic, converse, gemini, loose, openai, responses, stream};
use crate::fault::Fault;
use crate::format::Shape;
use crate::pair;
use crate::row::{is_nothing, moment, parsed};

/// A call as a tool has it, field by field.
pub struct Known {
    row: Map<String, Value>,
    usage: Option<Value>,
}

impl Known {
    /// Of these bodies. A request is a body of an API, or messages in any shape; an answer a body, a message, or its text.
    pub fn new(request: Value, response: Value) -> Self {
        Self { row: Map::from_iter([("request".to_owned(), request), ("response".to_owned(), response)]), usage: None }
    }

    /// With a field of the call record, if the tool knows it.
    pub fn with(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value.map(Into::into).filter(|value| !value.is_null() && value.as_str() != Some("")) {
            self.row.insert(key.to_owned(), value);
        }
        self
    }

    /// With when it began and how long it took, from any two moments.
    pub fn between(self, start: Option<&Value>, end: Option<&Value>) -> Self {
        let (start, end) = (start.and_then(moment), end.and_then(moment));
        let took = start.zip(end).map(|(start, end)| end.0 - start.0).filter(|took| *took >= 0);
        self.with("timestamp", start.map(|start| start.to_string())).with("latency_ms", took)
    }

    /// With these fields of the row as tags.
    pub fn tagged(mut self, row: &Map<String, Value>, keys: &[&str]) -> Self {
        let tag = |key: &&str| row.get(*key).filter(|value| !is_nothing(value)).map(|value| ((*key).to_owned(), value.clone()));
        let tags: Map<String, Value> = keys.iter().filter_map(tag).collect();
        let known = self.row.entry("tags").or_insert_with(|| json!({}));
        if let Value::Object(known) = known {
            known.extend(tags);
        }
        self
    }

    /// With the tool's count of tokens, for an answer that has none: of the prompt, cached ones included, and of the answer.
    pub fn counted(mut self, prompt: Option<u64>, completion: Option<u64>) -> Self {
        let counts = (prompt, completion);
        let known = prompt.is_some() || completion.is_some();
        self.usage = known.then(|| usage(counts.0.unwrap_or_default(), counts.1.unwrap_or_default()));
        self
    }

    /// With the part of the prompt's tokens that was read from a cache.
    pub fn cached(mut self, tokens: Option<u64>) -> Self {
        if let (Some(usage), Some(tokens)) = (&mut self.usage, tokens) {
            usage["prompt_tokens_details"] = json!({"cached_tokens": tokens});
        }
        self
    }

    /// The call.
    pub fn read(self) -> Result<Vec<Call>, Fault> {
        let Self { mut row, usage } = self;
        stream::expand(&mut row)?;
        if let Some(response) = row.get_mut("response") {
            *response = match loose::opened(response.take()) {
                list @ Value::Array(_) => json!({"generations": list}),
                other => other,
            };
        }
        let apis: [&dyn Shape; 4] = [&converse::Converse, &anthropic::Anthropic, &gemini::Gemini, &responses::Responses];
        let mut calls = match apis.into_iter().find(|api| api.recognises(&row)) {
            Some(api) => api.read(row)?,
            None => vec![pair::read(row, chat)?],
        };
        for body in calls.iter_mut().filter_map(|call| call.response.0.as_object_mut()) {
            if let Some(usage) = &usage
                && body.get("usage").is_none_or(is_nothing)
            {
                body.insert("usage".to_owned(), usage.clone());
            }
        }
        Ok(calls)
    }
}

/// Turns bodies with messages of any shape into chat bodies.
fn chat(request: Map<String, Value>, response: Map<String, Value>, lossy: &mut Vec<String>) -> Result<(Value, Value), Fault> {
    let mut request = request;
    let key = ["messages", "input", "prompt"].iter().find(|key| request.get(**key).is_some_and(|value| !is_nothing(value)));
    let Some(&key) = key else {
        return Err(Fault::new("request", "it holds no messages", "log the messages that were sent"));
    };
    let messages = request.shift_remove(key).unwrap_or_default();
    let messages = loose::messages(messages, &format!("request.{key}"), lossy)?;
    request.insert("messages".to_owned(), messages.into());
    let mut answer = loose::answer(Value::Object(response), "response", lossy)?;
    if let Some(choices) = answer.get_mut("choices").and_then(Value::as_array_mut) {
        for choice in choices {
            if choice.get("message").is_some_and(Value::is_object) {
                let said = loose::spoken(choice["message"].take(), "response.choices.message", lossy)?;
                choice["message"] = said.into_iter().next().unwrap_or_default();
            }
        }
    }
    openai::normalise(request, answer, lossy)
}

/// A request of messages and the settings that came with them.
pub fn request(messages: Value, model: Option<&Value>, settings: Option<Value>) -> Value {
    let mut body = match parsed(messages) {
        Value::Object(body) if ["messages", "input", "contents", "prompt"].iter().any(|key| body.contains_key(*key)) => body,
        other => Map::from_iter([("messages".to_owned(), other)]),
    };
    if let Some(model) = model.filter(|model| model.is_string()) {
        body.entry("model").or_insert_with(|| model.clone());
    }
    if let Some(Value::Object(settings)) = settings.map(parsed) {
        for (key, value) in settings.into_iter().filter(|(_, value)| !is_nothing(value)) {
            body.entry(key).or_insert(value);
        }
    }
    Value::Object(body)
}
