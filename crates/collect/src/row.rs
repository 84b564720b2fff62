//! Values of a row: what is in them, and taking them out, with the fault that names the field where it is not what it should be.
use record::Time;
use serde_json::{Map, Value};

use crate::fault::Fault;

/// A row whose fields are taken out one by one; what is left at the end is kept as tags.
pub struct Row(pub Map<String, Value>);

impl Row {
    /// Takes a field; null counts as absent.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.0.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes the first of some fields, opened where it is JSON in a text; null if there is none.
    pub fn take_open(&mut self, keys: &[&str]) -> Value {
        keys.iter().find_map(|key| self.take(key)).map(parsed).unwrap_or_default()
    }

    /// Takes a field that names something: text or a number.
    pub fn take_name(&mut self, key: &str) -> Result<Option<String>, Fault> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(Fault::new(key, format!("it is {}, expected text", kind(&other)), format!("write `{key}` as text"))),
        }
    }

    /// Takes a finite number that is not negative.
    pub fn take_amount(&mut self, key: &str) -> Result<Option<f64>, Fault> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = match &value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let problem = || {
            Fault::new(
                key,
                format!("it is {}, expected a number from 0", show(&value)),
                format!("write `{key}` as a number, or leave it out"),
            )
        };
        number.filter(|n: &f64| n.is_finite() && *n >= 0.0).map(Some).ok_or_else(problem)
    }

    /// Takes an object. Text that holds a JSON object counts as one: loggers often write bodies as text.
    pub fn take_object(&mut self, key: &str) -> Result<Option<Map<String, Value>>, Fault> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(object) => Ok(Some(object)),
                Err(_) => Err(Fault::new(key, "it is text that holds no JSON object", format!("write `{key}` as a JSON object"))),
            },
            Some(other) => {
                Err(Fault::new(key, format!("it is {}, expected an object", kind(&other)), format!("write `{key}` as a JSON object")))
            }
        }
    }
}

/// A moment in any form.
pub fn moment(value: &Value) -> Option<Time> {
    match value {
        Value::Number(number) => number.as_f64().and_then(Time::from_number),
        Value::String(text) => Time::parse(text),
        _ => None,
    }
}

/// Null, an empty text, list or object.
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "{}" || text == "[]",
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// The first of these fields that holds something.
pub fn first<'a>(row: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().filter_map(|key| row.get(*key)).find(|value| !is_nothing(value))
}

/// A count in any of these fields.
pub fn count(row: &Map<String, Value>, keys: &[&str]) -> Option<u64> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    first(row, keys).and_then(number)
}

/// What a value is, in words.
pub const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A small value as it stands, a large one in words.
fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 40 { format!("`{text}`") } else { kind(value).to_owned() }
}

/// Hex of the first 128 bits of a hash over the parts.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Text that holds a JSON object or list, as what it holds: exports often write nested values so.
pub fn parsed(value: Value) -> Value {
    match &value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    }
}
