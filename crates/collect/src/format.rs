//! The formats that are read, and how a row tells its own.
use record::Call;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::{anthropic, converse, gemini, openai, responses};
use crate::export::{bedrock, braintrust, helicone, langfuse, langsmith, litellm, openpipe, tensorzero};
use crate::fault::Fault;
use crate::{atif, batch, claude_code, finetune, har, plain, record_row, span};

/// What a format must know: its rows by sight, and how to read one.
pub trait Shape: Sync {
    /// Whether a row is of this format. Formats are asked in the order of [`Format::ALL`]; the first wins.
    fn recognises(&self, row: &Map<String, Value>) -> bool;
    /// The calls in a row; none if it only tells of what happened around them.
    fn read(&self, row: Map<String, Value>) -> Result<Vec<Call>, Fault>;
    /// What a row belongs to, if it is only a part of a call and others are needed.
    fn part(&self, _row: &Map<String, Value>) -> Option<Part> {
        None
    }
    /// Whether these parts are all there will be.
    fn is_whole(&self, _parts: &mut dyn Iterator<Item = &Map<String, Value>>) -> bool {
        true
    }
    /// The calls of parts that belong together, in the order in which they were found; at the end of all input also of those that never became whole.
    fn join(&self, parts: Vec<Map<String, Value>>) -> Result<Vec<Call>, Fault> {
        parts.into_iter().map(|part| self.read(part)).collect::<Result<Vec<_>, _>>().map(|calls| calls.concat())
    }
}

/// What a row is a part of.
pub struct Part {
    /// Parts of one call have it in common.
    pub key: String,
    /// Whether all parts stand in one file.
    pub file_alone: bool,
}

macro_rules! formats {
    ($($(#[$doc:meta])* $format:ident $name:literal $shape:expr;)*) => {
        /// A log format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Format {
            $($(#[$doc])* #[serde(rename = $name)] $format,)*
        }

        impl Format {
            /// Every format, in the order in which they are tried.
            pub const ALL: &[Self] = &[$(Self::$format,)*];

            /// The name on the command line and in counts.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$format => $name,)* }
            }

            pub(crate) fn shape(self) -> &'static dyn Shape {
                match self { $(Self::$format => &$shape,)* }
            }
        }
    };
}

formats! {
    /// Spans and log records of OpenTelemetry: OTLP's files, and what Phoenix makes of spans.
    Spans "spans" span::Spans;
    /// Exchanges of a HAR recording.
    Har "har" har::Har;
    /// Amazon Bedrock's invocation log.
    Bedrock "bedrock" bedrock::Bedrock;
    /// Agent trajectories.
    Atif "atif" atif::Atif;
    /// Inputs and outputs of batches of OpenAI and Anthropic.
    Batch "batch" batch::Batch;
    /// LangSmith's runs.
    Langsmith "langsmith" langsmith::Langsmith;
    /// Braintrust's spans.
    Braintrust "braintrust" braintrust::Braintrust;
    /// LiteLLM's payloads and spend logs.
    Litellm "litellm" litellm::Litellm;
    /// Helicone's requests.
    Helicone "helicone" helicone::Helicone;
    /// Langfuse's observations.
    Langfuse "langfuse" langfuse::Langfuse;
    /// TensorZero's inferences.
    Tensorzero "tensorzero" tensorzero::Tensorzero;
    /// Claude Code's session files.
    ClaudeCode "claude-code" claude_code::ClaudeCode;
    /// OpenPipe's logged calls and datasets.
    Openpipe "openpipe" openpipe::Openpipe;
    /// Rows with a Bedrock Converse `request` and `response`.
    Converse "converse" converse::Converse;
    /// Rows with an Anthropic Messages `request` and `response`, whatever stands around them.
    Anthropic "anthropic" anthropic::Anthropic;
    /// Rows with a Gemini `generateContent` `request` and `response`.
    Gemini "gemini" gemini::Gemini;
    /// Rows with an OpenAI Responses `request` and `response`.
    Responses "responses" responses::Responses;
    /// The project's own call record and its subset `{timestamp, workload_id, client_id, request, response}`.
    Record "record" record_row::RecordRow;
    /// Rows with an OpenAI chat `request` and `response`.
    Openai "openai" openai::Openai;
    /// OpenAI fine-tuning rows: `{messages, tools?}`.
    OpenaiFinetune "openai-finetune" finetune::OpenaiFinetune;
    /// Pairs of a prompt and its answer, and rows of preferences.
    Plain "plain" plain::Plain;
}

impl Format {
    /// The format a row shows by itself.
    pub(crate) fn of(row: &Map<String, Value>) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.shape().recognises(row))
    }

    /// The format most rows show: what a row that shows none is taken for. Ties go to the one tried first.
    pub(crate) fn of_most<'a>(rows: impl Iterator<Item = &'a Map<String, Value>>) -> Option<Self> {
        let mut votes = [0_usize; Self::ALL.len()];
        for format in rows.filter_map(Self::of) {
            votes[format as usize] += 1;
        }
        let most = votes.iter().copied().max().filter(|most| *most > 0)?;
        Self::ALL.iter().copied().find(|format| votes[*format as usize] == most)
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
        let known = || Self::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join("`, `");
        let found = Self::ALL.iter().copied().find(|format| format.name() == name);
        found.ok_or_else(|| format!("`{name}` is no format: expected `{}`", known()))
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
