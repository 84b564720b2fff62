//! Spans of OpenTelemetry: unpacked from their files, their attributes put into one tree, and each convention's read as a call.
//! One file a convention. A span that is no call of a model gives structure and no call.
pub mod genai;
pub mod llmetry;
pub mod openinference;
pub mod otlp;
pub mod tree;
pub mod vercel;

use record::Call;
use serde_json::{Map, Value, json};

use crate::export::Known;
use crate::fault::Fault;
use crate::format::{Part, Shape};
use crate::row::{digest, is_nothing};

/// What a convention says of one call.
#[derive(Default)]
pub struct Told {
    pub request: Map<String, Value>,
    pub response: Value,
    pub conversation: Option<Value>,
    pub workload: Option<Value>,
    pub client: Option<Value>,
    /// Tokens of the prompt, cached ones included, and of the answer.
    pub usage: (Option<u64>, Option<u64>),
    /// The part of the prompt's tokens that was cached.
    pub cached: Option<u64>,
    pub cost: Option<Value>,
    pub feedback: Option<Value>,
    /// What to set where the span was made, if it holds no content.
    pub cure: &'static str,
}

impl Told {
    /// Sets a field of the request to the first of these values that holds something.
    pub fn ask(&mut self, key: &str, values: &[&Value]) {
        if let Some(value) = values.iter().find(|value| !is_nothing(value)) {
            self.request.insert(key.to_owned(), (*value).clone());
        }
    }

    /// The first of these values that holds something.
    pub fn any(values: &[&Value]) -> Option<Value> {
        values.iter().find(|value| !is_nothing(value)).map(|value| (*value).clone())
    }
}

/// A span as [`otlp`] unpacks it, or a log record that belongs to one.
pub struct Spans;

impl Shape for Spans {
    fn recognises(&self, row: &Map<String, Value>) -> bool {
        otlp::Span::of(row).is_some() || is_phoenix(row)
    }

    /// A span whose content stands in log records, and these.
    fn part(&self, row: &Map<String, Value>) -> Option<Part> {
        let span = otlp::Span::of(row)?;
        let key = format!("{} {}", span.trace(), span.id());
        let named = !span.trace().is_empty() && !span.id().is_empty();
        let waits = named && (span.is_log() || (genai::is_call(&span) && !genai::has_content(&span)));
        waits.then_some(Part { key, file_alone: false })
    }

    fn is_whole(&self, _: &mut dyn Iterator<Item = &Map<String, Value>>) -> bool {
        // how many log records a span has, no one says
        false
    }

    fn join(&self, parts: Vec<Map<String, Value>>) -> Result<Vec<Call>, Fault> {
        let (logs, spans): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| otlp::Span::of(part).is_some_and(|part| part.is_log()));
        let Some(mut span) = spans.into_iter().next() else {
            // events of spans that are in no file that was read
            return if logs.iter().any(genai::is_event) { self.read(genai::span_of(&logs)) } else { Ok(Vec::new()) };
        };
        otlp::add_events(&mut span, logs);
        self.read(span)
    }

    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault> {
        let row = if is_phoenix(&row) { otlp::of_phoenix(row) } else { row };
        let Some(span) = otlp::Span::of(&row) else { return Ok(Vec::new()) };
        if span.is_log() {
            // a record that names no span stands for itself
            return if genai::is_event(&row) { self.read(genai::span_of(&[row])) } else { Ok(Vec::new()) };
        }
        let conventions = [openinference::tell, vercel::tell, llmetry::tell, genai::tell];
        let Some(told) = conventions.iter().find_map(|tell| tell(&span).transpose()).transpose()? else { return Ok(Vec::new()) };
        if let Some(error) = span.error() {
            return Err(Fault::failed("status", Some(&error)));
        }
        for (field, missing) in [("input", told.request.get("messages").is_none_or(is_nothing)), ("output", is_nothing(&told.response))] {
            if missing {
                return Err(Fault::new(field, "the span holds no content", told.cure));
            }
        }
        called(&span, told)
    }
}

fn called(span: &otlp::Span<'_>, told: Told) -> Result<Vec<Call>, Fault> {
    let trace = span.trace();
    let tags: Map<String, Value> = [
        ("trace_id", trace.into()),
        ("span_id", span.id().into()),
        ("parent_id", span.parent().into()),
        ("name", span.name().into()),
        ("service", span.service()),
    ]
    .into_iter()
    .filter(|(_, value): &(&str, Value)| !is_nothing(value))
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    let mut calls = Known::new(Value::Object(told.request), told.response)
        .with("source_id", Some(span.id()))
        .with("conversation_id", told.conversation.or_else(|| Some(trace.into())))
        .with("workload_id", told.workload)
        .with("client_id", told.client)
        .between(span.start(), span.end())
        .with("cost_usd", told.cost)
        .with("feedback", told.feedback)
        .with("tags", Some(Value::Object(tags)))
        .counted(told.usage.0, told.usage.1)
        .cached(told.cached)
        .read()?;
    calls.iter_mut().for_each(|call| call.source_id = name(trace, call));
    Ok(calls)
}

/// The name of a call: a gateway's span and an SDK's repeat one another, so what was asked and answered within a trace is one call.
fn name(trace: &str, call: &Call) -> String {
    let words = |message: &Value| json!([message["role"], message["content"], message["tool_calls"]]).to_string();
    let messages = call.request.messages().chain(call.response.message());
    let words: Vec<String> = messages.map(|message| words(message.0)).collect();
    let parts: Vec<&[u8]> = std::iter::once(trace.as_bytes()).chain(words.iter().map(String::as_bytes)).collect();
    format!("call-{}", digest(&parts))
}

/// A span of Phoenix's client or of its files: not OTLP, but the same attributes.
fn is_phoenix(row: &Map<String, Value>) -> bool {
    let context = row.get("context").is_some_and(|context| context.get("span_id").is_some()) || row.contains_key("context.span_id");
    let flat = row.get("attributes").is_some_and(|attributes| {
        attributes.get("openinference.span.kind").is_some() || attributes["openinference"]["span"].get("kind").is_some()
    });
    let kind = row.contains_key("span_kind") || row.contains_key("spanKind");
    (context && kind) || (flat && row.contains_key("attributes"))
}
