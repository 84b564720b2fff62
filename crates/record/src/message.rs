//! Views of an OpenAI message, a tool offered and a tool called.
use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a request or a response.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a>(pub &'a Value);

impl<'a> Message<'a> {
    /// `system`, `developer`, `user`, `assistant`, `tool`, or an empty string.
    #[must_use]
    pub fn role(&self) -> &'a str {
        self.0.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// The text: the content string, or the text parts joined by newlines.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        match self.0.get("content") {
            Some(Value::String(text)) => Cow::Borrowed(text),
            Some(Value::Array(parts)) => {
                let texts: Vec<_> = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
                Cow::Owned(texts.join("\n"))
            }
            _ => Cow::Borrowed(""),
        }
    }

    /// The tool calls, in order.
    #[must_use]
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        let calls = self.0.get("tool_calls").and_then(Value::as_array);
        calls.map(Vec::as_slice).unwrap_or_default().iter().filter_map(ToolCall::from_openai).collect()
    }
}

/// A tool a request offers.
#[derive(Clone, Copy, Debug)]
pub struct Tool<'a>(pub &'a Value);

impl<'a> Tool<'a> {
    fn function(&self) -> &'a Value {
        self.0.get("function").unwrap_or(self.0)
    }

    /// The tool's name, or an empty string.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.function().get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// What the tool is said to do, or an empty string.
    #[must_use]
    pub fn description(&self) -> &'a str {
        self.function().get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// JSON schema of the arguments, or null.
    #[must_use]
    pub fn parameters(&self) -> &'a Value {
        self.function().get("parameters").unwrap_or(&Value::Null)
    }
}

/// A tool call with its arguments parsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of the call, or an empty string.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Parsed arguments. A string where the raw text is no JSON; empty, `null` and missing are `{}`.
    pub arguments: Value,
}

impl ToolCall {
    /// Reads one entry of an OpenAI `tool_calls` list. Arguments may be JSON text or an object.
    #[must_use]
    pub fn from_openai(value: &Value) -> Option<Self> {
        let function = value.get("function").unwrap_or(value);
        let name = function.get("name")?.as_str()?.to_owned();
        let id = value.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let empty = || Value::Object(serde_json::Map::new());
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => empty(),
            Some(Value::String(text)) if text.trim().is_empty() => empty(),
            Some(Value::String(text)) => match serde_json::from_str(text) {
                Ok(Value::Null) => empty(),
                Ok(parsed) => parsed,
                Err(_) => Value::String(text.clone()),
            },
            Some(other) => other.clone(),
        };
        Some(Self { id, name, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, ToolCall};
    use serde_json::json;

    #[test]
    fn arguments_parse_from_text_and_object_alike() {
        let text = ToolCall::from_openai(&json!({"id": "a", "function": {"name": "f", "arguments": "{\"x\": 1}"}}));
        let object = ToolCall::from_openai(&json!({"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}));
        assert_eq!(text, object);
        let broken = ToolCall::from_openai(&json!({"function": {"name": "f", "arguments": "{\"x\": "}})).map(|c| c.arguments);
        assert_eq!(broken, Some(json!("{\"x\": ")));
        for nothing in [json!(null), json!(""), json!("null"), json!({})] {
            let call = ToolCall::from_openai(&json!({"function": {"name": "f", "arguments": nothing}}));
            assert_eq!(call.map(|c| c.arguments), Some(json!({})));
        }
    }

    #[test]
    fn text_parts_are_joined() {
        let value =
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]});
        assert_eq!(Message(&value).text(), "a\nb");
    }
}
