//! Log-probabilities hold the answer once more, in pieces too small for any search to find a value in, and pieces of what might have
//! been answered. So they go along only where they say nothing that the scrubbed answer does not say.
use std::collections::BTreeSet;

use record::{Call, Logprob};
use serde_json::{Value, json};

use crate::conversation::DEPTH;
use crate::keys::{Role, plain};
use crate::{Class, Scrubber};

/// Where a choice's tokens, put together, are scrubbed as the text they spell.
const SPELLED: &str = "spelled";

/// Shorter texts are no value of any class by themselves.
const SHORTEST: usize = 6;

/// The tokens of one choice, while its text is scrubbed.
#[derive(Debug)]
pub struct Aside {
    choice: usize,
    tokens: Vec<Logprob>,
    text: String,
}

/// Takes all log-probabilities out of a call. Those of the choices are kept aside where they can be read, with the text that they spell
/// left in their place for the scrubber; others (of prompts, in tags) are dropped.
pub fn take(call: &mut Call) -> Vec<Aside> {
    let mut aside = Vec::new();
    let choices = call.response.0.get_mut("choices").and_then(Value::as_array_mut);
    for (choice, value) in choices.into_iter().flatten().enumerate() {
        let Some(value) = value.get_mut("logprobs").filter(|value| value.is_object()) else { continue };
        let entries = value.get("content").and_then(Value::as_array);
        let tokens: Option<Vec<Logprob>> = entries.and_then(|entries| entries.iter().map(Logprob::from_openai).collect());
        let text = |tokens: &[Logprob]| String::from_utf8(tokens.iter().flat_map(|token| token.bytes.clone()).collect()).ok();
        if let Some((tokens, text)) = tokens.and_then(|tokens| text(&tokens).map(|text| (tokens, text))) {
            aside.push(Aside { choice, tokens, text });
        }
    }
    for value in [&mut call.request.0, &mut call.response.0].into_iter().chain(call.feedback.values_mut()).chain(call.tags.values_mut()) {
        strip(value, 0);
    }
    for map in [&mut call.feedback, &mut call.tags] {
        map.retain(|key, value| !holds(key, value));
    }
    for Aside { choice, text, .. } in &aside {
        call.response.0["choices"][*choice]["logprobs"] = json!({SPELLED: text});
    }
    aside
}

/// Whether a key names log-probabilities and more than one number stands under it.
fn holds(key: &str, value: &Value) -> bool {
    (value.is_object() || value.is_array()) && plain(key).contains("logprob")
}

/// Drops what stands under keys that name log-probabilities, and lists of tokens that have such keys each. What the agent said, was told
/// and may call is left alone.
fn strip(value: &mut Value, depth: usize) {
    match value {
        Value::Object(map) => {
            map.retain(|key, inner| !holds(key, inner));
            for (key, inner) in map {
                let said = matches!(key.as_str(), "content" | "text" | "arguments" | "input" | "refusal" | "reasoning_content");
                let schema = matches!(key.as_str(), "tools" | "functions" | "response_format");
                if !(schema || said && !inner.is_array()) {
                    strip(inner, depth);
                }
            }
        }
        Value::Array(items) => {
            let one = |(key, value): (&String, &Value)| value.is_number() && matches!(plain(key).as_str(), "logprob" | "logprobability");
            let token = |item: &Value| item.as_object().is_some_and(|item| item.iter().any(one));
            items.retain(|item| !token(item));
            items.iter_mut().for_each(|item| strip(item, depth));
        }
        Value::String(text) if depth < DEPTH && text.starts_with(['{', '[']) && text.to_lowercase().contains("logprob") => {
            if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                strip(&mut inner, depth + 1);
                *text = inner.to_string();
            }
        }
        _ => {}
    }
}

/// Puts the tokens back whose text came out as it went in, without alternatives that are, hold or begin a value of the conversation.
pub fn restore(call: &mut Call, aside: Vec<Aside>, scrubber: &Scrubber, found: &BTreeSet<(Class, String)>, keep: &BTreeSet<String>) {
    let values: Vec<String> = found.iter().filter(|(_, value)| !keep.contains(value)).map(|(_, value)| value.to_lowercase()).collect();
    let safe = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let piece = text.trim().to_lowercase();
        let part = !piece.is_empty() && values.iter().any(|value| value.contains(&piece) || piece.contains(value.as_str()));
        !part && (text.len() < SHORTEST || scrubber.look(Role::Search(None), &text, None).is_empty())
    };
    for Aside { choice, mut tokens, text } in aside {
        let Some(place) = call.response.0.pointer_mut(&format!("/choices/{choice}/logprobs")) else { continue };
        if place[SPELLED] != text {
            *place = Value::Null;
            continue;
        }
        for token in &mut tokens {
            let own = std::mem::take(&mut token.bytes);
            token.top.retain(|(bytes, _)| *bytes == own || safe(bytes));
            token.bytes = own;
        }
        *place = json!({"content": tokens.iter().map(Logprob::to_openai).collect::<Vec<_>>()});
    }
}
