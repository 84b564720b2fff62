//! What the prompts of a task have in common: data, so that whoever trains, judges or serves drops the very same.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Request, Tool};

/// The constant head of a task's prompts. A request that begins with it can be shown without it; any other is none of the task's
/// small model, which never saw such a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// Texts of the system or developer messages that come first, in order.
    pub system: Vec<String>,
    /// The tools offered, as an OpenAI body has them; empty where tools stay.
    pub tools: Vec<Value>,
}

impl Shared {
    /// The variable of a chat template by which a request names the task whose head is to be dropped: vLLM and llama.cpp take it under
    /// `chat_template_kwargs`.
    pub const TASK: &str = "drop_shared";

    /// Whether there is nothing to drop.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.system.is_empty() && self.tools.is_empty()
    }

    /// The request without the head; none where it does not begin with it, or where no message would be left. Tools are the same if
    /// names, descriptions and parameters are, in order.
    ///
    /// The result is for rendering a prompt. A server that reads tool calls out of an answer has to be sent the whole request.
    #[must_use]
    pub fn trim(&self, request: &Request) -> Option<Request> {
        let mut messages = request.messages();
        let first = |text: &String| messages.next().is_some_and(|m| matches!(m.role(), "system" | "developer") && m.text() == *text);
        if !self.system.iter().all(first) || messages.next().is_none() {
            return None;
        }
        if !self.tools.is_empty() && !same_tools(request, &self.tools) {
            return None;
        }
        let mut trimmed = request.clone();
        if let Some(Value::Array(messages)) = trimmed.0.get_mut("messages") {
            messages.drain(..self.system.len());
        }
        if let (Some(fields), false) = (trimmed.0.as_object_mut(), self.tools.is_empty()) {
            // a choice among tools makes no sense without them
            for key in ["tools", "tool_choice", "parallel_tool_calls"] {
                fields.shift_remove(key);
            }
        }
        Some(trimmed)
    }
}

/// What two offers of a tool have in common if they are the same: name, description, parameters (none for an empty object).
#[must_use]
pub fn tool_identity(tool: Tool<'_>) -> (&str, &str, &Value) {
    let parameters = Some(tool.parameters()).filter(|schema| schema.as_object().is_none_or(|fields| !fields.is_empty()));
    (tool.name(), tool.description(), parameters.unwrap_or(&Value::Null))
}

fn same_tools(request: &Request, tools: &[Value]) -> bool {
    request.tools().map(tool_identity).eq(tools.iter().map(|tool| tool_identity(Tool(tool))))
}

/// A head that was dropped in training, and what that saves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// The head.
    pub shared: Shared,
    /// Share of the train calls that begin with it.
    pub share: f64,
    /// Mean tokens of a prompt with it and without, in the model's tokens, its chat template included.
    pub prompt_tokens: [f64; 2],
}

#[cfg(test)]
mod tests {
    use super::Shared;
    use crate::Request;
    use serde_json::json;

    fn shared() -> Shared {
        let tools = vec![json!({"type": "function", "function": {"name": "f", "description": "does", "parameters": {}}})];
        Shared { system: vec!["be brief".into()], tools }
    }

    #[test]
    fn what_begins_with_the_head_is_shown_without_it() {
        let whole = Request(json!({"model": "m", "tool_choice": "auto",
            "messages": [{"role": "developer", "content": [{"type": "text", "text": "be brief"}]}, {"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "does", "strict": true}}]}));
        let trimmed = shared().trim(&whole).expect("it begins with the head");
        assert_eq!(trimmed.0, json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}));
        let messages_alone = Shared { tools: Vec::new(), ..shared() }.trim(&whole).expect("it begins with the message");
        assert_eq!(messages_alone.tools().count(), 1);
        assert_eq!(messages_alone.0["tool_choice"], "auto");
    }

    #[test]
    fn whatever_else_is_not_trimmed() {
        let tool = json!([{"type": "function", "function": {"name": "f", "description": "does"}}]);
        let system = |text: &str| json!({"role": "system", "content": text});
        let user = json!({"role": "user", "content": "hi"});
        let cases = [
            json!({"messages": [system("be brief "), user], "tools": tool}),
            json!({"messages": [user, system("be brief")], "tools": tool}),
            json!({"messages": [system("be brief")], "tools": tool}),
            json!({"messages": [system("be brief"), user]}),
            json!({"messages": [system("be brief"), user], "tools": [tool[0], tool[0]]}),
            json!({"messages": [system("be brief"), user], "tools": [{"function": {"name": "f", "description": "does",
                "parameters": {"type": "object"}}}]}),
        ];
        for case in cases {
            assert_eq!(shared().trim(&Request(case.clone())), None, "{case}");
        }
    }
}
