//! Why an answer does not agree, in words that stay the same between versions.
use serde::{Deserialize, Serialize};

/// The error taxonomy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The predictor gave no answer.
    NoAnswer,
    /// Another number of tool calls.
    WrongCount,
    /// Another tool.
    WrongName,
    /// An argument or field is missing.
    MissingRequired,
    /// An argument or field that was not there.
    UnexpectedArg,
    /// A value of another type.
    TypeError,
    /// Another value.
    ValueError,
    /// The answer or the arguments are no JSON.
    InvalidJson,
    /// The answer breaks the schema that the request states.
    SchemaViolation,
    /// A tool call where the log has none.
    CallWhenNoneExpected,
    /// No tool call where the log has one.
    NoCallWhenExpected,
    /// Another label of those that the train split holds.
    WrongLabel,
    /// A label that the train split does not hold.
    UnknownLabel,
    /// Another text.
    WrongText,
}

impl Fault {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::WrongCount => "wrong_count",
            Self::WrongName => "wrong_name",
            Self::MissingRequired => "missing_required",
            Self::UnexpectedArg => "unexpected_arg",
            Self::TypeError => "type_error",
            Self::ValueError => "value_error",
            Self::InvalidJson => "invalid_json",
            Self::SchemaViolation => "schema_violation",
            Self::CallWhenNoneExpected => "call_when_none_expected",
            Self::NoCallWhenExpected => "no_call_when_expected",
            Self::WrongLabel => "wrong_label",
            Self::UnknownLabel => "unknown_label",
            Self::WrongText => "wrong_text",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault and the place it was found: a JSON pointer below the answer, empty for the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub fault: Fault,
    pub place: String,
}

impl Found {
    pub(crate) fn at(fault: Fault, place: &str) -> Self {
        Self { fault, place: place.to_owned() }
    }
}
