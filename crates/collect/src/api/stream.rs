//! Bodies that were logged otherwise than as one object: JSON in a string, or a streamed answer as server-sent events or as a list of its
//! pieces, which is put together.
//!
//! Sources: OpenAI `CreateChatCompletionStreamResponse` and `ResponseStreamEvent`; Anthropic `RawMessageStreamEvent`; Gemini
//! `streamGenerateContent`, whose pieces are answers that grow.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::fault::Fault;

/// Replaces bodies written as text by what the text says. Text that is neither stays as it is: an answer may well be JSON, or a list.
pub fn expand(row: &mut Map<String, Value>) -> Result<(), Fault> {
    if let Some(request) = row.get_mut("request")
        && let Some(body) = request.as_str().and_then(object)
    {
        *request = Value::Object(body);
    }
    let Some(response) = row.get_mut("response") else { return Ok(()) };
    if let Some(pieces) = response.as_array().filter(|pieces| are_pieces(pieces)) {
        *response = assemble(pieces)?;
        return Ok(());
    }
    let Some(text) = response.as_str().map(str::trim_start) else { return Ok(()) };
    if is_stream(text) {
        *response = assemble(&events(text))?;
    } else if let Some(pieces) = list(text).filter(|pieces| are_pieces(pieces)) {
        *response = assemble(&pieces)?;
    } else if let Some(body) = object(text).filter(is_reply) {
        *response = Value::Object(body);
    } else if is_like_a_reply(text) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err(Fault::new("response", "it is text that holds no JSON object", "write `response` as a JSON object"));
    } else if text.contains(":event-type") && text.contains(":message-type") {
        let cure = "log the events as JSON, in a list: the SDK hands them out so";
        return Err(Fault::new("response", "it is a binary event stream of AWS, written as text", cure));
    }
    Ok(())
}

fn object(text: &str) -> Option<Map<String, Value>> {
    if text.trim_start().starts_with('{') { serde_json::from_str(text).ok() } else { None }
}

fn list(text: &str) -> Option<Vec<Value>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// Whether an object is what an API answers, and not an answer that happens to be JSON.
fn is_reply(body: &Map<String, Value>) -> bool {
    let field = |key: &str| body.get(key).unwrap_or(&Value::Null);
    let named = |key: &str| field(key).as_str().unwrap_or_default();
    let (choice, called) = (&field("choices")[0], &field("tool_calls")[0]);
    let chosen = ["message", "delta", "text"].iter().any(|key| choice.get(*key).is_some());
    let lists = chosen || field("candidates")[0]["content"].is_object() || called["function"].is_object();
    let said = named("role") == "assistant" || named("type") == "message" || body.contains_key("stop_reason");
    let message = body.contains_key("content") && said;
    let of_kind = named("object").starts_with("chat.completion") || named("object") == "response" || named("type") == "error";
    let nested = field("message").is_object() || field("output")["message"].is_object();
    let failed = field("error").is_object() || field("promptFeedback").is_object() || (field("error").is_string() && body.len() == 1);
    lists || message || of_kind || nested || failed
}

/// Whether a text begins as an API's answer does: with one of its fields.
fn is_like_a_reply(text: &str) -> bool {
    let key = text.strip_prefix('{').map(str::trim_start).and_then(|text| text.strip_prefix('"')).and_then(|text| text.split('"').next());
    let first = ["id", "object", "choices", "candidates", "type", "model", "created", "output", "usage", "role", "stop_reason", "error"];
    key.is_some_and(|key| first.contains(&key))
}

/// Whether these are the pieces of a streamed answer.
fn are_pieces(pieces: &[Value]) -> bool {
    pieces.iter().any(|piece| {
        let kind = piece["type"].as_str().unwrap_or_default();
        kind == "message_start"
            || kind.starts_with("response.")
            || piece["candidates"].is_array()
            || piece["choices"][0].get("delta").is_some()
    })
}

/// Whether a text is server-sent events of JSON; an answer may begin with `id:` too.
fn is_stream(text: &str) -> bool {
    let field = ["data:", "event:", "id:", "retry:", ":"].iter().any(|field| text.starts_with(field));
    let data = |line: &str| line.strip_prefix("data:").is_some_and(|data| data.trim_start().starts_with(['{', '[']));
    field && text.lines().any(data)
}

/// The data of server-sent events, those that are JSON; an event's data may stand on several lines (WHATWG HTML, section 9.2).
fn events(text: &str) -> Vec<Value> {
    let (mut events, mut data) = (Vec::new(), String::new());
    for line in text.lines().chain([""]) {
        if let Some(more) = line.strip_prefix("data:") {
            // some servers leave the empty line between events out: what is whole already is an event of its own
            if more.trim_start().starts_with(['{', '['])
                && let Ok(event) = serde_json::from_str(&data)
            {
                events.push(event);
                data.clear();
            }
            data.push_str(more.strip_prefix(' ').unwrap_or(more));
            data.push('\n');
        } else if line.is_empty() {
            events.extend(serde_json::from_str::<Value>(&data));
            data.clear();
        }
    }
    events
}

/// Puts a streamed answer together.
fn assemble(events: &[Value]) -> Result<Value, Fault> {
    let of_type = |name: &str| events.iter().any(|event| event["type"] == name);
    if let Some(error) = events.iter().find_map(|event| event.get("error").filter(|error| !error.is_null())) {
        return Ok(json!({"error": error}));
    }
    let (whole, answer) = if of_type("message_start") {
        (of_type("message_stop"), message(events))
    } else if let Some(last) = events.iter().rfind(|event| event["response"].is_object() && event["type"].is_string()) {
        (["response.completed", "response.incomplete", "response.failed"].iter().any(|end| last["type"] == *end), last["response"].clone())
    } else if events.iter().any(|event| event.get("choices").is_some()) {
        let ended = events.iter().any(|event| !event["choices"][0]["finish_reason"].is_null());
        (ended, completion(events))
    } else if events.iter().any(|event| event.get("candidates").is_some()) {
        let answer = candidates(events);
        (!answer["candidates"][0]["finishReason"].is_null(), answer)
    } else {
        let cure = "log the answer once it is whole";
        return Err(Fault::new("response", "it is a stream of no known API", cure));
    };
    if whole { Ok(answer) } else { Err(Fault::new("response", "the streamed answer is cut off", "log the stream to its end")) }
}

/// OpenAI chunks as one completion.
fn completion(chunks: &[Value]) -> Value {
    let mut whole = Map::new();
    let mut choices: BTreeMap<u64, (Map<String, Value>, Value)> = BTreeMap::new();
    for chunk in chunks {
        for key in ["id", "created", "model", "usage"] {
            if let Some(value) = chunk.get(key).filter(|value| !value.is_null()) {
                whole.insert(key.to_owned(), value.clone());
            }
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let (message, finish) = choices.entry(choice["index"].as_u64().unwrap_or_default()).or_default();
            if let Some(delta) = choice["delta"].as_object() {
                grow(message, delta);
            }
            if !choice["finish_reason"].is_null() {
                *finish = choice["finish_reason"].clone();
            }
        }
    }
    whole.insert("object".to_owned(), "chat.completion".into());
    let choice = |(index, (mut message, finish)): (u64, (Map<String, Value>, Value))| {
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        calls.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|call| drop(call.shift_remove("index")));
        json!({"index": index, "finish_reason": finish, "message": message})
    };
    whole.insert("choices".to_owned(), choices.into_iter().map(choice).collect());
    Value::Object(whole)
}

/// Adds a delta to a message: texts grow, tool calls grow by their index, the rest is set once.
fn grow(message: &mut Map<String, Value>, delta: &Map<String, Value>) {
    for (key, value) in delta.iter().filter(|(_, value)| !value.is_null()) {
        match (value, message.get_mut(key)) {
            (Value::Array(calls), _) if key == "tool_calls" => calls.iter().for_each(|call| grow_call(message, call)),
            (Value::Object(more), Some(Value::Object(known))) => grow(known, more),
            // some servers repeat a name with each piece
            (Value::String(more), Some(Value::String(known))) if key == "name" && more == known => {}
            (Value::String(more), Some(Value::String(known))) if key != "role" && key != "id" && key != "type" => known.push_str(more),
            (_, Some(_)) => {}
            (_, None) => drop(message.insert(key.clone(), value.clone())),
        }
    }
}

fn grow_call(message: &mut Map<String, Value>, call: &Value) {
    let calls = message.entry("tool_calls").or_insert_with(|| json!([]));
    let (Some(calls), Some(delta)) = (calls.as_array_mut(), call.as_object()) else { return };
    // some servers give all calls one index, or none: another id is another call
    let another =
        |known: &Value| call["id"].as_str().is_some_and(|id| !id.is_empty() && known["id"].as_str().is_some_and(|known| known != id));
    let place = calls.iter().rposition(|known| known["index"] == call["index"]).filter(|at| !another(&calls[*at]));
    let place = place.unwrap_or_else(|| {
        calls.push(json!({"index": call["index"]}));
        calls.len() - 1
    });
    if let Some(known) = calls[place].as_object_mut() {
        grow(known, delta);
    }
}

/// Pieces of a Gemini answer as one: texts that follow one another are one part.
fn candidates(pieces: &[Value]) -> Value {
    let mut whole = Map::new();
    let mut candidates: BTreeMap<u64, (Vec<Value>, Value)> = BTreeMap::new();
    for piece in pieces {
        for candidate in piece["candidates"].as_array().into_iter().flatten() {
            let (parts, finish) = candidates.entry(candidate["index"].as_u64().unwrap_or_default()).or_default();
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                match (parts.last_mut(), part["text"].as_str()) {
                    (Some(last), Some(more)) if last["text"].is_string() && last["thought"] == part["thought"] => {
                        last["text"] = format!("{}{more}", last["text"].as_str().unwrap_or_default()).into();
                    }
                    _ => parts.push(part.clone()),
                }
            }
            if !candidate["finishReason"].is_null() {
                *finish = candidate["finishReason"].clone();
            }
        }
        let rest = piece.as_object().into_iter().flatten().filter(|(key, _)| *key != "candidates");
        whole.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
    }
    let candidate = |(parts, finish)| json!({"content": {"role": "model", "parts": Value::Array(parts)}, "finishReason": finish});
    whole.insert("candidates".to_owned(), candidates.into_values().map(candidate).collect());
    Value::Object(whole)
}

/// Anthropic events as one message.
fn message(events: &[Value]) -> Value {
    let mut whole = Map::new();
    let mut blocks: BTreeMap<u64, (Value, String)> = BTreeMap::new();
    for event in events {
        let index = event["index"].as_u64().unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => whole = event["message"].as_object().cloned().unwrap_or_default(),
            "content_block_start" if event["content_block"].is_object() => {
                blocks.insert(index, (event["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                let Some((block, arguments)) = blocks.get_mut(&index) else { continue };
                for key in ["text", "thinking"] {
                    if let Some(more) = event["delta"][key].as_str() {
                        block[key] = format!("{}{more}", block[key].as_str().unwrap_or_default()).into();
                    }
                }
                arguments.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
            }
            "message_delta" => {
                whole.insert("stop_reason".to_owned(), event["delta"]["stop_reason"].clone());
                if let (Some(more), Some(Value::Object(usage))) = (event["usage"].as_object(), whole.get_mut("usage")) {
                    usage.extend(more.iter().filter(|(_, count)| !count.is_null()).map(|(key, count)| (key.clone(), count.clone())));
                }
            }
            _ => {}
        }
    }
    let block = |(mut block, arguments): (Value, String)| {
        if !arguments.is_empty() {
            block["input"] = serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
        }
        block
    };
    whole.insert("content".to_owned(), blocks.into_values().map(block).collect());
    Value::Object(whole)
}
