//! The action signature: what a prompt allows (tools, output schema), where in the conversation it stands, and
//! what shape the answer took.
//!
//! The first two are known before the answer is and may decide where a call belongs. The last is for fitting and
//! describing only.
use record::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::segment;

/// What a request states beyond its text. Calls with different keys are never of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The agent node, if the log says.
    pub workload: Option<String>,
    /// Names of the tools offered, sorted.
    pub tools: Vec<String>,
    /// Hash of names and parameter schemas of the tools, descriptions left out; 0 without tools.
    pub tool_schema: u64,
    /// Hash of the output schema, descriptions left out; 0 for none, 1 for JSON without a schema.
    pub output_schema: u64,
}

impl Key {
    /// Reads the key of a request.
    #[must_use]
    pub fn of(workload: Option<&str>, request: &Request) -> Self {
        let mut offered: Vec<_> = request.tools().map(|tool| (tool.name().to_owned(), shape(tool.parameters()))).collect();
        offered.sort_unstable();
        let mut bytes = Vec::new();
        for (name, shape) in &offered {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&shape.to_le_bytes());
        }
        let output_schema = match request.schema() {
            Some(schema) => shape(schema).max(2),
            None => u64::from(request.wants_json()),
        };
        let tool_schema = if offered.is_empty() { 0 } else { segment::hash(&bytes) };
        let tools = offered.into_iter().map(|(name, _)| name).collect();
        Self { workload: workload.map(str::to_owned), tools, tool_schema, output_schema }
    }

    /// Whether nothing but text tells its calls apart.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.workload.is_none() && self.tools.is_empty() && self.output_schema == 0
    }

    /// A stable hash of all fields.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let text = format!("{:?}\0{:?}\0{}\0{}", self.workload, self.tools, self.tool_schema, self.output_schema);
        segment::hash(text.as_bytes())
    }
}

/// Hash of a JSON schema: order of keys, titles and descriptions do not count.
fn shape(schema: &Value) -> u64 {
    fn feed(value: &Value, hasher: &mut blake3::Hasher, named: bool) {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_unstable_by_key(|(key, _)| key.as_str());
                hasher.update(b"{");
                for (key, value) in keys {
                    // inside `properties` a field may be called `description`
                    if !named && matches!(key.as_str(), "description" | "title" | "$schema" | "examples" | "default") {
                        continue;
                    }
                    hasher.update(key.as_bytes()).update(b":");
                    feed(value, hasher, !named && key == "properties");
                }
                hasher.update(b"}");
            }
            Value::Array(list) => {
                hasher.update(b"[");
                list.iter().for_each(|value| feed(value, hasher, false));
                hasher.update(b"]");
            }
            Value::String(text) => drop(hasher.update(text.as_bytes()).update(b"\"")),
            other => drop(hasher.update(other.to_string().as_bytes()).update(b",")),
        }
    }
    let mut hasher = blake3::Hasher::new();
    feed(schema, &mut hasher, false);
    let mut eight = [0; 8];
    eight.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(eight)
}

/// Names of the output schema's fields, in the schema's order.
#[must_use]
pub fn fields(request: &Request) -> Vec<String> {
    let properties = request.schema().and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    properties.map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// Where in the conversation a prompt stands: `after-user`, or `after-TOOL` behind a tool's result.
#[must_use]
pub fn turn(request: &Request) -> String {
    let Some(last) = request.messages().next_back() else { return "after-nothing".to_owned() };
    if last.role() != "tool" {
        return format!("after-{}", if last.role().is_empty() { "user" } else { last.role() });
    }
    let id = last.0.get("tool_call_id").and_then(Value::as_str);
    let called = request.messages().rev().flat_map(|m| m.tool_calls().into_iter().rev()).find(|call| id.is_none_or(|id| call.id == id));
    let named = last.0.get("name").and_then(Value::as_str).map(str::to_owned);
    format!("after-{}", named.or_else(|| called.map(|call| call.name)).unwrap_or_else(|| "tool".to_owned()))
}

/// The shape of an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The tools called, sorted.
    Tools(Vec<String>),
    /// A JSON object's keys, sorted, or `[]` or a type's name.
    Json(Vec<String>),
    /// A short text; the hash of its normalised form.
    Short(u64),
    /// Text that is mostly a query or program.
    Code,
    /// Anything else.
    Prose,
}

impl Action {
    /// Reads the shape of an answer.
    #[must_use]
    pub fn of(response: &Response) -> Self {
        let mut tools: Vec<_> = response.tool_calls().into_iter().map(|call| call.name).collect();
        if !tools.is_empty() {
            tools.sort_unstable();
            tools.dedup();
            return Self::Tools(tools);
        }
        let text = response.text();
        let text = text.trim();
        if let Some(keys) = json_keys(text) {
            return Self::Json(keys);
        }
        let statement = ["select ", "show ", "describe ", "insert ", "update ", "delete ", "with ", "create "];
        let start: String = text.chars().take(12).flat_map(char::to_lowercase).collect();
        if text.starts_with("```") || statement.iter().any(|word| start.starts_with(word)) {
            return Self::Code;
        }
        if text.len() <= 48 && text.split_whitespace().count() <= 5 {
            let plain: String = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ').flat_map(char::to_lowercase).collect();
            return Self::Short(segment::hash(plain.trim().as_bytes()));
        }
        Self::Prose
    }

    /// A word for tables.
    #[must_use]
    pub fn word(&self) -> String {
        match self {
            Self::Tools(names) => names.join("+"),
            Self::Json(keys) => format!("{{{}}}", keys.join(", ")),
            Self::Short(_) => "label".to_owned(),
            Self::Code => "code".to_owned(),
            Self::Prose => "text".to_owned(),
        }
    }
}

fn json_keys(text: &str) -> Option<Vec<String>> {
    if !(text.starts_with('{') || text.starts_with('[')) {
        return None;
    }
    match serde_json::from_str::<Value>(text).ok()? {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().cloned().collect();
            keys.sort_unstable();
            keys.truncate(24);
            Some(keys)
        }
        Value::Array(_) => Some(vec!["[]".to_owned()]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Key, turn};
    use record::{Request, Response};
    use serde_json::json;

    #[test]
    fn a_key_ignores_order_and_prose_but_not_parameters() {
        let tool = |name: &str, field: &str, text: &str| {
            json!({"type": "function", "function": {"name": name, "description": text,
            "parameters": {"type": "object", "properties": {field: {"type": "string", "description": text}}}}})
        };
        let one = Request(json!({"tools": [tool("a", "x", "old"), tool("b", "y", "old")]}));
        let two = Request(json!({"tools": [tool("b", "y", "new"), tool("a", "x", "new")]}));
        let three = Request(json!({"tools": [tool("a", "description", "old"), tool("b", "y", "old")]}));
        assert_eq!(Key::of(None, &one), Key::of(None, &two));
        assert_ne!(Key::of(None, &one), Key::of(None, &three));
        assert_ne!(Key::of(None, &one), Key::of(Some("node"), &one));
        assert!(Key::of(None, &Request(json!({}))).is_bare());
    }

    #[test]
    fn answers_have_shapes() {
        let text = |text: &str| Action::of(&Response::from_message(&json!({"role": "assistant", "content": text})));
        assert_eq!(text("Yes."), text("yes"));
        assert_eq!(text("{\"b\": 1, \"a\": 2}"), Action::Json(vec!["a".into(), "b".into()]));
        assert_eq!(text("SELECT a FROM b WHERE c ORDER BY d, e, f"), Action::Code);
        assert_eq!(text("Dear customer, we are sorry to hear that your parcel is late."), Action::Prose);
    }

    #[test]
    fn the_turn_names_the_tool_that_answered() {
        let call = json!({"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": "{}"}}]});
        let request =
            Request(json!({"messages": [{"role": "user", "content": "x"}, call, {"role": "tool", "tool_call_id": "1", "content": "y"}]}));
        assert_eq!(turn(&request), "after-look");
        assert_eq!(turn(&Request(json!({"messages": [{"role": "user", "content": "x"}]}))), "after-user");
    }
}
