//! The formats that are read, and how a row tells its own.
use record::Call;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::{anthropic, converse, gemini, openai, responses};
use crate::fault::Fault;
use crate::{finetune, record_row};

/// What a format must know: its rows by sight, and how to read one.
pub trait Shape: Sync {
    /// Whether a row is of this format. Formats are asked in the order of [`Format::ALL`]; the first wins.
    fn recognises(&self, row: &Map<String, Value>) -> bool;
    /// The calls in a row.
    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault>;
}

/// A log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Rows with a Bedrock Converse `request` and `response`.
    Converse,
    /// Rows with an Anthropic Messages `request` and `response`, whatever stands around them.
    Anthropic,
    /// Rows with a Gemini `generateContent` `request` and `response`.
    Gemini,
    /// Rows with an OpenAI Responses `request` and `response`.
    Responses,
    /// The project's own call record and its subset `{timestamp, workload_id, client_id, request, response}`.
    Record,
    /// Rows with an OpenAI chat `request` and `response`.
    Openai,
    /// OpenAI fine-tuning rows: `{messages, tools?}`.
    OpenaiFinetune,
}

impl Format {
    /// Every format, in the order in which they are tried.
    pub const ALL: [Self; 7] =
        [Self::Converse, Self::Anthropic, Self::Gemini, Self::Responses, Self::Record, Self::Openai, Self::OpenaiFinetune];

    /// The name on the command line and in counts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Converse => "converse",
            Self::Gemini => "gemini",
            Self::Responses => "responses",
            Self::Record => "record",
            Self::Openai => "openai",
            Self::OpenaiFinetune => "openai-finetune",
        }
    }

    pub(crate) fn shape(self) -> &'static dyn Shape {
        match self {
            Self::Anthropic => &anthropic::Anthropic,
            Self::Converse => &converse::Converse,
            Self::Gemini => &gemini::Gemini,
            Self::Responses => &responses::Responses,
            Self::Record => &record_row::RecordRow,
            Self::Openai => &openai::Openai,
            Self::OpenaiFinetune => &finetune::OpenaiFinetune,
        }
    }

    /// The format a row shows by itself.
    pub(crate) fn of(row: &Map<String, Value>) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.shape().recognises(row))
    }

    /// The format most rows show: what a row that shows none is taken for. Ties go to the one tried first.
    pub(crate) fn of_most<'a>(rows: impl Iterator<Item = &'a Map<String, Value>>) -> Option<Self> {
        let mut votes = [0_usize; Self::ALL.len()];
        for format in rows.filter_map(Self::of) {
            votes[format as usize] += 1;
        }
        let most = votes.iter().copied().max().filter(|most| *most > 0)?;
        Self::ALL.into_iter().find(|format| votes[*format as usize] == most)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join("`, `");
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| format!("`{name}` is no format: expected `{}`", known()))
    }
}

/// What to say of a row of no known format; names what it looks like where that helps.
pub fn unknown(row: &Map<String, Value>) -> Fault {
    let has = |key: &str| row.contains_key(key);
    let join = "log the request beside it: one row `{\"request\": …, \"response\": …}`";
    if row.get("object").and_then(Value::as_str).is_some_and(|object| object.starts_with("chat.completion")) {
        Fault::new("", "this is an answer without its request", join)
    } else if row.get("type").and_then(Value::as_str) == Some("message") && has("content") {
        Fault::new("", "this is an Anthropic answer without its request", join)
    } else if has("request") {
        Fault::new("response", "the row has a request and no answer", "drop calls that got no answer, or log the answer as `response`")
    } else if has("response") {
        Fault::new("request", "the row has an answer and no request", join)
    } else {
        let keys: Vec<_> = row.keys().take(6).map(|key| format!("`{key}`")).collect();
        let seen = if keys.is_empty() { "it is empty".to_owned() } else { format!("it has {}", keys.join(", ")) };
        Fault::new(
            "",
            format!("the row is of no known format: {seen}"),
            "convert it to rows `{\"request\": …, \"response\": …}`, or name its format with `--input-format`",
        )
    }
}
