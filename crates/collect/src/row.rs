//! Taking fields out of a row, with the fault that names the field where it is not what it should be.
use serde_json::{Map, Value};

use crate::fault::Fault;

/// A row whose fields are taken out one by one; what is left at the end is kept as tags.
pub struct Row(pub Map<String, Value>);

impl Row {
    /// Takes a field; null counts as absent.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.0.shift_remove(key).filter(|value| !value.is_null())
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
