//! A document of the corpus: pieces of text, each marked as given or as to be answered.
//!
//! Chats are written in the project's ChatML, exactly as the chat template of the tokenizer renders them.
use serde_json::{Value, json};

use super::dice::Dice;

/// A stretch of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text, special tokens written out.
    pub text: String,
    /// Whether a reader of what comes before should be able to write it.
    pub answer: bool,
}

/// A document.
#[derive(Clone, Debug, Default)]
pub struct Document(pub Vec<Piece>);

impl Document {
    /// Adds text that cannot be foreseen.
    pub fn given(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(Piece { text: text.into(), answer: false });
        self
    }

    /// Adds text that follows from what stands before it.
    pub fn answer(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(Piece { text: text.into(), answer: true });
        self
    }

    /// Puts a text before the system message's own, if there is one.
    pub fn preface(&mut self, text: &str) {
        const OPEN: &str = "<|im_start|>system\n";
        if let Some(piece) = self.0.first_mut()
            && let Some(rest) = piece.text.strip_prefix(OPEN)
        {
            piece.text = format!("{OPEN}{text}\n\n{rest}");
        }
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.0.iter().map(|piece| piece.text.as_str()).collect()
    }
}

/// What one side says.
#[derive(Clone, Debug)]
pub enum Turn {
    /// The user's text.
    User(String),
    /// The assistant's text.
    Assistant(String),
    /// The assistant's tool calls: name and arguments.
    Calls(Vec<(String, Value)>),
    /// A tool's result.
    Tool(String),
}

/// A conversation.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// The instruction; empty for none.
    pub system: String,
    /// Tools offered, in the form of OpenAI.
    pub tools: Vec<Value>,
    /// What was said.
    pub turns: Vec<Turn>,
}

/// What introduces the tools of a prompt.
pub const TOOLS_INTRO: &str = "These functions may be called. One JSON description a line:";
/// What follows the tools of a prompt.
pub const TOOLS_OUTRO: &str =
    "A call is written <tool_call>{\"name\": function name, \"arguments\": its arguments as an object}</tool_call>";

impl Chat {
    /// Adds an exchange.
    pub fn exchange(&mut self, user: impl Into<String>, assistant: impl Into<String>) {
        self.turns.push(Turn::User(user.into()));
        self.turns.push(Turn::Assistant(assistant.into()));
    }

    /// The conversation as a document.
    pub fn document(&self) -> Document {
        let mut document = Document::default();
        if !self.system.is_empty() || !self.tools.is_empty() {
            document.given(format!("<|im_start|>system\n{}<|im_end|>\n", self.system_text()));
        }
        for turn in &self.turns {
            match turn {
                Turn::User(text) => document.given(format!("<|im_start|>user\n{text}<|im_end|>\n")),
                Turn::Tool(text) => document.given(format!("<|im_start|>tool\n{text}<|im_end|>\n")),
                Turn::Assistant(text) => document.given("<|im_start|>assistant\n").answer(format!("{text}<|im_end|>")).given("\n"),
                Turn::Calls(calls) => {
                    let calls: Vec<_> = calls.iter().map(|(name, arguments)| call_text(name, arguments)).collect();
                    document.given("<|im_start|>assistant\n").answer(format!("{}<|im_end|>", calls.join("\n"))).given("\n")
                }
            };
        }
        document
    }

    fn system_text(&self) -> String {
        if self.tools.is_empty() {
            return self.system.clone();
        }
        let tools: Vec<_> = self.tools.iter().map(|tool| Style::Spaced.write(tool)).collect();
        let block = format!("{TOOLS_INTRO}\n<tools>\n{}\n</tools>\n{TOOLS_OUTRO}", tools.join("\n"));
        if self.system.is_empty() { block } else { format!("{}\n\n{block}", self.system) }
    }
}

fn call_text(name: &str, arguments: &Value) -> String {
    format!("<tool_call>{}</tool_call>", Style::Spaced.write(&json!({"name": name, "arguments": arguments})))
}

/// How JSON is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without blanks.
    Compact,
    /// A blank after comma and colon.
    Spaced,
    /// A line for each member.
    Pretty,
}

impl Style {
    /// A style; the pretty one is rare because it is long.
    pub fn draw(dice: &mut Dice) -> Self {
        *dice.pick(&[Self::Compact, Self::Compact, Self::Compact, Self::Spaced, Self::Spaced, Self::Spaced, Self::Pretty])
    }

    /// Writes a value.
    pub fn write(self, value: &Value) -> String {
        match self {
            Self::Compact => value.to_string(),
            Self::Pretty => format!("{value:#}"),
            Self::Spaced => spaced(value),
        }
    }
}

fn spaced(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members: Vec<_> = map.iter().map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), spaced(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
