//! Generated text to an OpenAI assistant message. Never fails: what is no tool call stays content.
use record::Tool;
use serde_json::{Map, Value, json};

/// The assistant message that `text` is.
///
/// Tool calls are read in the form of Hermes and Qwen (`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number, text
/// before them allowed) and of Llama 3 (the whole answer is `{"name": …, "parameters": {…}}` of a tool that was offered). A block of
/// `<think>…</think>` at the head becomes `reasoning_content`. If any call of an answer does not parse, all of it stays content.
#[must_use]
pub fn message<'a>(text: &str, tools: impl Iterator<Item = Tool<'a>>) -> Value {
    let (reasoning, rest) = reasoning(text);
    let (content, calls) = tagged(rest).or_else(|| bare(rest, tools)).unwrap_or_else(|| (rest.trim().to_owned(), Vec::new()));
    let mut message = Map::new();
    message.insert("role".to_owned(), Value::from("assistant"));
    let silent = content.is_empty() && !calls.is_empty();
    message.insert("content".to_owned(), if silent { Value::Null } else { Value::from(content) });
    if let Some(reasoning) = reasoning {
        message.insert("reasoning_content".to_owned(), Value::from(reasoning));
    }
    if !calls.is_empty() {
        let calls = calls.into_iter().enumerate().map(|(i, Called { name, arguments })| {
            json!({"id": format!("call_{i}"), "type": "function", "function": {"name": name, "arguments": arguments}})
        });
        message.insert("tool_calls".to_owned(), Value::Array(calls.collect()));
    }
    Value::Object(message)
}

/// A call with its arguments as JSON text, as OpenAI writes them.
struct Called {
    name: String,
    arguments: String,
}

impl Called {
    fn new(value: &Value) -> Option<Self> {
        let name = value.get("name")?.as_str()?.to_owned();
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            None | Some(Value::Null) => "{}".to_owned(),
            Some(_) => return None,
        };
        Some(Self { name, arguments })
    }
}

/// Splits off a non-empty block of thought at the head.
fn reasoning(text: &str) -> (Option<String>, &str) {
    let split = text.trim_start().strip_prefix("<think>").and_then(|rest| rest.split_once("</think>"));
    match split {
        Some((thought, rest)) => (Some(thought.trim().to_owned()).filter(|thought| !thought.is_empty()), rest),
        None => (None, text),
    }
}

/// Calls between `<tool_call>` tags, and the text before the first. The last closing tag may be missing: models often stop there.
fn tagged(text: &str) -> Option<(String, Vec<Called>)> {
    let mut parts = text.split("<tool_call>");
    let content = parts.next()?.trim().to_owned();
    let calls: Option<Vec<_>> = parts
        .map(|part| {
            let body = match part.split_once("</tool_call>") {
                Some((body, after)) if after.trim().is_empty() => body,
                Some(_) => return None,
                None => part,
            };
            Called::new(&serde_json::from_str(body.trim()).ok()?)
        })
        .collect();
    calls.filter(|calls| !calls.is_empty()).map(|calls| (content, calls))
}

/// The whole text as one or more calls, separated by `;`, of tools that were offered.
fn bare<'a>(text: &str, tools: impl Iterator<Item = Tool<'a>>) -> Option<(String, Vec<Called>)> {
    let text = text.trim();
    let text = text.strip_prefix("<|python_tag|>").unwrap_or(text).trim();
    if !text.starts_with('{') {
        return None;
    }
    let names: Vec<_> = tools.map(|tool| tool.name()).collect();
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let call = Called::new(&values.next()?.ok()?)?;
        rest = rest[values.byte_offset()..].trim_start().trim_start_matches(';').trim_start();
        if !names.contains(&call.name.as_str()) {
            return None;
        }
        calls.push(call);
    }
    Some((String::new(), calls))
}

#[cfg(test)]
mod tests {
    use record::{Message, Request};
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        let request = Request(json!({"tools": [{"type": "function", "function": {"name": "look_up"}}]}));
        super::message(text, request.tools())
    }

    fn names(value: &Value) -> Vec<String> {
        Message(value).tool_calls().into_iter().map(|call| call.name).collect()
    }

    #[test]
    fn hermes_calls_are_read_with_the_text_before_them() {
        let two = "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n<tool_call>{\"name\": \"g\"}";
        let value = read(two);
        assert_eq!(names(&value), ["f", "g"]);
        assert_eq!(value["content"], "Let me see.");
        assert_eq!(value["tool_calls"][0]["function"]["arguments"], "{\"x\":1}");
        assert_eq!(value["tool_calls"][1]["id"], "call_1");
        assert_eq!(read("<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>")["content"], Value::Null);
    }

    #[test]
    fn llama_calls_are_read_only_for_offered_tools() {
        let call = r#"<|python_tag|>{"name": "look_up", "parameters": {"id": "7"}}; {"name": "look_up", "parameters": {}}"#;
        assert_eq!(names(&read(call)), ["look_up", "look_up"]);
        let data = r#"{"name": "Ann", "parameters": {}}"#;
        assert_eq!(read(data), json!({"role": "assistant", "content": data}));
    }

    #[test]
    fn what_does_not_parse_stays_content() {
        for text in
            ["<tool_call>{\"name\": </tool_call>", "plain", "", "{\"name\": 3}", "<tool_call>{\"name\": \"f\"}</tool_call> and so on"]
        {
            assert_eq!(read(text), json!({"role": "assistant", "content": text}));
        }
    }

    #[test]
    fn thought_is_kept_apart() {
        let value = read("<think>\nhm\n</think>\n\nyes");
        assert_eq!((&value["content"], &value["reasoning_content"]), (&json!("yes"), &json!("hm")));
        assert_eq!(read("<think>\n\n</think>\n\nyes"), json!({"role": "assistant", "content": "yes"}));
    }
}
