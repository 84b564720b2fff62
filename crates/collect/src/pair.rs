//! What every request/response row has in common, whoever's bodies it carries.
//!
//! Where a row does not say:
//! * the conversation is a hash of the system text and the first user message. Agents send the history with every
//!   call, so the calls of one conversation share both, and two calls with the same beginning never come apart into
//!   training and held-out data. Rows that share them by chance count as one conversation, which only makes bounds wider;
//! * the step is the number of answers already in the request;
//! * the source id is a hash of the row, so the same row twice is one call.
use record::{Call, Request, Response, Time};
use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::row::{Row, digest, moment};

/// Fields of a row or of a request's `metadata` that name a conversation, best first.
const CONVERSATION: [&str; 5] = ["conversation_id", "session_id", "thread_id", "trace_id", "episode_id"];

/// Turns the bodies of one dialect into OpenAI bodies, noting what is lost.
pub type Normalise = fn(Map<String, Value>, Map<String, Value>, &mut Vec<String>) -> Result<(Value, Value), Fault>;

/// Reads a row whose `request` and `response` are of the dialect `normalise` knows.
pub fn read(row: Map<String, Value>, normalise: Normalise) -> Result<Call, Fault> {
    let source_hash = if row.get("source_id").is_none_or(Value::is_null) { Some(row_hash(&row)) } else { None };
    let mut row = Row(row);
    let mut lossy: Vec<String> = match row.take("lossy") {
        Some(Value::Array(marks)) => marks.iter().filter_map(|mark| mark.as_str().map(ToOwned::to_owned)).collect(),
        _ => Vec::new(),
    };
    let absent = |field, problem: &str, cure: &str| Fault::new(field, problem, cure);
    let request = row.take_object("request")?.ok_or_else(|| absent("request", "there is none", "log the request body as `request`"))?;
    let response = answer(row.take("response").unwrap_or(Value::Null))?;
    let (request, response) = normalise(request, response, &mut lossy)?;
    let (request, response) = (Request(request), Response(response));
    if request.messages().next().is_none() {
        return Err(absent("request.messages", "the list is empty", "log the messages that were sent"));
    }
    let timestamp = time(&mut row, &response);
    mark(&mut lossy, "time", timestamp.is_none());
    let conversation_id = match row.take_name(CONVERSATION[0])? {
        Some(id) => id,
        None => match named_conversation(&row, &request) {
            Some(id) => id,
            None => {
                mark(&mut lossy, "conversation", true);
                conversation_of(&request)
            }
        },
    };
    Ok(Call {
        source_id: row
            .take_name("source_id")?
            .or(source_hash)
            .ok_or_else(|| absent("source_id", "it is empty", "name the call, or leave the field out"))?,
        conversation_id,
        step: step(&mut row, &request)?,
        timestamp,
        workload_id: row.take_name("workload_id")?,
        client_id: row.take_name("client_id")?.or_else(|| request.0.get("user").and_then(Value::as_str).map(ToOwned::to_owned)),
        latency_ms: row.take_amount("latency_ms")?,
        cost_usd: row.take_amount("cost_usd")?,
        feedback: row.take_object("feedback")?.unwrap_or_default(),
        tags: tags(row),
        request,
        response,
        lossy,
    })
}

/// Moves the model that a row names, under the first of these keys, into its request: some APIs have it in the address alone.
pub fn model_into_request(row: &mut Map<String, Value>, keys: &[&str]) {
    let model = keys.iter().find_map(|key| row.shift_remove(*key)).filter(Value::is_string);
    if let (Some(model), Some(Value::Object(request))) = (model, row.get_mut("request")) {
        request.entry("model").or_insert(model);
    }
}

/// Hash of a row as it came: its name where it has none.
pub fn row_hash(row: &Map<String, Value>) -> String {
    let text = serde_json::to_vec(row).expect("a parsed row serialises");
    format!("row-{}", digest(&[&text]))
}

/// The conversation of a request that names none: what its conversation began with.
pub fn conversation_of(request: &Request) -> String {
    format!("start-{}", digest(&[request.system().as_bytes(), request.first_user().as_bytes()]))
}

/// Notes a loss once.
pub fn mark(lossy: &mut Vec<String>, what: &str, lost: bool) {
    if lost && !lossy.iter().any(|known| known == what) {
        lossy.push(what.to_owned());
    }
}

/// The answer as an object; a bare text is taken for the assistant's message.
fn answer(response: Value) -> Result<Map<String, Value>, Fault> {
    let response = match response {
        Value::String(text) => {
            let mut message = Map::new();
            message.insert("role".to_owned(), "assistant".into());
            message.insert("content".to_owned(), text.into());
            message
        }
        Value::Object(response) => response,
        _ => return Err(Fault::new("response", "there is none", "drop calls that got no answer")),
    };
    match response.get("error") {
        Some(error) if !error.is_null() => {
            let text = error.get("message").and_then(Value::as_str).or_else(|| error.as_str()).unwrap_or("no message");
            Err(Fault::failed("response.error", Some(&text.into())))
        }
        _ => Ok(response),
    }
}

fn time(row: &mut Row, response: &Response) -> Option<Time> {
    for key in ["timestamp", "created_at", "start_time"] {
        if let Some(time) = row.0.get(key).and_then(moment) {
            row.0.shift_remove(key);
            return Some(time);
        }
    }
    response.0.get("created").and_then(moment)
}

fn named_conversation(row: &Row, request: &Request) -> Option<String> {
    let metadata = request.0.get("metadata");
    let text = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    CONVERSATION.iter().find_map(|key| row.0.get(*key).and_then(text).or_else(|| metadata?.get(*key).and_then(text)))
}

fn step(row: &mut Row, request: &Request) -> Result<u32, Fault> {
    let Some(value) = row.take("step") else {
        let answers = request.messages().filter(|message| message.role() == "assistant").count();
        return Ok(u32::try_from(answers).unwrap_or(u32::MAX));
    };
    let step = value.as_u64().and_then(|step| u32::try_from(step).ok());
    step.ok_or_else(|| Fault::new("step", format!("`{value}` is no position"), "write a whole number from 0, or leave `step` out"))
}

/// What the row said beyond the record's own fields. `tags` that are no object are kept as one.
fn tags(mut row: Row) -> Map<String, Value> {
    let mut tags = match row.take("tags") {
        Some(Value::Object(tags)) => tags,
        Some(other) => Map::from_iter([("tags".to_owned(), other)]),
        None => Map::new(),
    };
    tags.extend(row.0.into_iter().filter(|(_, value)| !value.is_null()));
    tags
}
