//! OpenTelemetry's own convention for calls of models (`gen_ai.*`), of its three generations: content in attributes, in events of the
//! span, or in log records.
//!
//! Source: open-telemetry/semantic-conventions `docs/gen-ai`, and its deprecated attributes.
use serde_json::{Map, Value, json};

use super::Told;
use super::otlp::{MARK, Span};
use crate::fault::Fault;
use crate::row::{is_nothing, parsed};

const CURE: &str = "set `OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental` and `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY` \
    where the agent runs (`true` for older releases); if content went into log records, collect their file together with the spans";

/// Whether a span is a call of a model, with or without content.
pub fn is_call(span: &Span<'_>) -> bool {
    let own = &span.attributes()["gen_ai"];
    match own["operation"]["name"].as_str() {
        Some(name) => matches!(name, "chat" | "generate_content" | "text_completion" | "responses"),
        None => own["request"]["model"].is_string() && (own["system"].is_string() || own["provider"]["name"].is_string()),
    }
}

pub fn has_content(span: &Span<'_>) -> bool {
    !Content::of(span).answered.is_empty()
}

/// Whether a log record is one that holds content.
pub fn is_event(record: &Map<String, Value>) -> bool {
    Span::of(record).is_some_and(|record| event(&record).is_some())
}

/// Log records of one span, of which the span itself is in no file, as a span that knows no more than they do.
pub fn span_of(logs: &[Map<String, Value>]) -> Map<String, Value> {
    let first = logs.first().cloned().unwrap_or_default();
    let field = |key: &str| first.get(key).cloned().unwrap_or_default();
    let system = first.get("attributes").map(|own| own["gen_ai"].clone()).unwrap_or_default();
    let span = json!({
        MARK: "span", "trace": field("trace"), "span": field("span"), "start": field("start"), "service": field("service"),
        "attributes": {"gen_ai": {"operation": {"name": "chat"}, "system": system["system"], "request": system["request"],
            "conversation": system["conversation"]}},
        "events": logs,
    });
    match span {
        Value::Object(span) => span,
        _ => Map::new(),
    }
}

pub fn tell(span: &Span<'_>) -> Result<Option<Told>, Fault> {
    if !is_call(span) {
        return Ok(None);
    }
    let attributes = span.attributes();
    let own = &attributes["gen_ai"];
    let mut told = Told { cure: CURE, ..Told::default() };
    let mut content = Content::of(span);
    let mut messages = content.system;
    messages.append(&mut content.asked);
    if !messages.is_empty() {
        told.request.insert("messages".to_owned(), messages.into());
    }
    told.response = match content.answered.len() {
        0 => Value::Null,
        _ => Value::Array(content.answered),
    };
    let (asked, usage) = (&own["request"], &own["usage"]);
    told.ask("model", &[&asked["model"], &own["response"]["model"]]);
    for key in ["temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty"] {
        told.ask(key, &[&asked[key]]);
    }
    told.ask("stop", &[&asked["stop_sequences"]]);
    let tools = parsed(own["tool"]["definitions"].clone());
    told.ask("tools", &[&tools.as_array().map(|tools| tools.iter().map(tool).collect()).unwrap_or_default()]);
    told.conversation = Told::any(&[&own["conversation"]["id"], &attributes["session"]["id"]]);
    told.workload = Told::any(&[&own["prompt"]["name"], &own["agent"]["name"]]);
    told.client = Told::any(&[&attributes["user"]["id"], &attributes["enduser"]["id"]]);
    let count = |values: [&Value; 2]| values.into_iter().find_map(Value::as_u64);
    told.usage = (count([&usage["input_tokens"], &usage["prompt_tokens"]]), count([&usage["output_tokens"], &usage["completion_tokens"]]));
    told.cached = usage["cache_read"]["input_tokens"].as_u64();
    told.feedback = content.feedback;
    Ok(Some(told))
}

/// A tool as a chat body has it.
fn tool(tool: &Value) -> Value {
    if tool.get("function").is_some() {
        return tool.clone();
    }
    let fields = ["name", "description", "parameters"].iter().filter_map(|key| Some(((*key).to_owned(), tool.get(*key)?.clone())));
    let function: Map<String, Value> = fields.collect();
    json!({"type": "function", "function": function})
}

/// What was said, wherever it stood.
#[derive(Default)]
struct Content {
    system: Vec<Value>,
    asked: Vec<Value>,
    answered: Vec<Value>,
    feedback: Option<Value>,
}

impl Content {
    fn of(span: &Span<'_>) -> Self {
        let mut content = Self::default();
        content.of_attributes(&span.attributes()["gen_ai"]);
        span.events().for_each(|event| content.of_event(&event));
        content
    }

    fn of_attributes(&mut self, own: &Value) {
        let opened = |value: &Value| parsed(value.clone());
        match opened(&own["system_instructions"]) {
            nothing if is_nothing(&nothing) => {}
            parts => self.system = vec![json!({"role": "system", "content": parts})],
        }
        if let Value::Array(messages) = opened(&own["input"]["messages"]) {
            self.asked = messages;
        }
        if let Value::Array(messages) = opened(&own["output"]["messages"]) {
            self.answered = messages;
        }
        // the oldest form: `gen_ai.prompt` and `gen_ai.completion`, texts of JSON
        for (into, key) in [(&mut self.asked, "prompt"), (&mut self.answered, "completion")] {
            match opened(&own[key]) {
                Value::Array(messages) if into.is_empty() => *into = messages,
                Value::String(text) if into.is_empty() && !text.is_empty() => *into = vec![json!({"role": "user", "content": text})],
                _ => {}
            }
        }
    }

    fn of_event(&mut self, event: &Span<'_>) {
        let own = &event.attributes()["gen_ai"];
        let Some(kind) = self::event(event) else { return };
        match kind {
            Kind::Details => self.of_attributes(own),
            Kind::Evaluation => {
                let score = &own["evaluation"];
                let value = Told::any(&[&score["score"]["value"], &score["score"]["label"]]);
                if let (Some(name), Some(value)) = (score["name"].as_str(), value) {
                    self.feedback.get_or_insert_with(|| json!({}))[name] = value;
                }
            }
            Kind::Message(role) => {
                let said = fields(event);
                let mut message = json!({"role": role});
                for (from, to) in [("content", "content"), ("tool_calls", "tool_calls"), ("id", "tool_call_id"), ("name", "name")] {
                    if !said[from].is_null() {
                        message[to] = parsed(said[from].clone());
                    }
                }
                if role == "system" { self.system.push(message) } else { self.asked.push(message) }
            }
            Kind::Choice => {
                let said = fields(event);
                let message = parsed(said["message"].clone());
                let message =
                    if message.is_null() { json!({"content": said["content"], "tool_calls": said["tool_calls"]}) } else { message };
                self.answered.push(json!({"message": message, "finish_reason": said["finish_reason"]}));
            }
        }
    }
}

/// Fields of an event: the body of a log record, or the attributes of an event of the span.
fn fields(event: &Span<'_>) -> Value {
    let body = parsed(event.body().clone());
    if body.is_object() {
        return body;
    }
    let own = event.attributes();
    // `gen_ai.event.content` is a text of JSON
    let content = parsed(own["gen_ai"]["event"]["content"].clone());
    if content.is_object() { content } else { own.clone() }
}

enum Kind {
    Message(&'static str),
    Choice,
    Details,
    Evaluation,
}

fn event(event: &Span<'_>) -> Option<Kind> {
    Some(match event.name() {
        "gen_ai.system.message" => Kind::Message("system"),
        "gen_ai.user.message" => Kind::Message("user"),
        "gen_ai.assistant.message" => Kind::Message("assistant"),
        "gen_ai.tool.message" => Kind::Message("tool"),
        "gen_ai.choice" => Kind::Choice,
        "gen_ai.client.inference.operation.details" | "gen_ai.content.prompt" | "gen_ai.content.completion" => Kind::Details,
        "gen_ai.evaluation.result" => Kind::Evaluation,
        _ => return None,
    })
}
