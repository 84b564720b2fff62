//! What calls can lack, which steps miss it, and the setting that would have kept it.

use crate::Format;

/// What calls of one format lack.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Lack {
    /// The calls' format.
    pub format: String,
    /// What they lack: a mark of a call's `lossy`.
    pub what: String,
    /// How many of them.
    pub calls: u64,
    /// Which steps miss it, and how.
    pub blocks: &'static str,
    /// What would have kept it; none if nothing would.
    pub cure: Option<&'static str>,
}

impl Lack {
    /// Of so many calls of a format, by their names.
    #[must_use]
    pub fn new(format: &str, what: &str, calls: u64) -> Self {
        let cure = format.parse().ok().and_then(|format| cure(format, what));
        Self { format: format.to_owned(), what: what.to_owned(), calls, blocks: blocks(what), cure }
    }
}

/// What is missed where calls lack something.
fn blocks(what: &str) -> &'static str {
    match what {
        "time" => "no order in time: `iterate` sees no drift within this log",
        "conversation" => "conversations are told by how they begin: those that begin alike count as one, and bounds are wider",
        "model" => "the large model is not named: costs are not known, teachers are not told apart",
        "media" => "images, sound and files are not learnt from: such calls stay with the large model",
        "history" => "what was said before is not in the prompt: answers that lean on it cannot be learnt",
        "system" => "the instructions are not in the prompt: tasks are told apart by their messages alone",
        "tools" => "the schemas of some tools are not known: their arguments are not checked",
        "template" => "the prompt is not the text that the model was given: a small model must be asked in the same form",
        "blocks" => "parts that only the vendor's server understands were left out",
        "calls" => "several calls of the model are one step: its answer is their last",
        _ => "the source did not hold it",
    }
}

fn cure(format: Format, what: &str) -> Option<&'static str> {
    Some(match (format, what) {
        (_, "conversation") => "log a `conversation_id` or `session_id` with each call",
        (Format::Responses, "history") => "collect the calls before these too, or send the whole input instead of `previous_response_id`",
        (Format::Tensorzero, "template") => "collect the rows of `ModelInference` instead: they hold the text",
        (Format::ClaudeCode, "system" | "tools") => "record the traffic instead: `mitmdump --set hardump=FILE`",
        (Format::Atif, "tools") => "write `agent.tool_definitions` into the trajectory",
        (Format::Plain | Format::OpenaiFinetune, "time" | "model") => "keep the log that the dataset was made from, and collect that",
        (_, "time") => "log a `timestamp` with each call",
        (_, "model") => "log the whole body of the request: it names the model",
        _ => return None,
    })
}
