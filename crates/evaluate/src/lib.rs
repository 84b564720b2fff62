//! Held-out calls and predictions → scores, and the verdict whether a small model may take a task over.
//!
//! The logged answer is the yardstick, not the truth: the large model's agreement with itself on
//! repeated prompts stands beside every score. Gates rest on lower confidence bounds over
//! conversations, never on a mean. Knows no model, no disk and no clock; predictions come in as values.
mod baseline;
mod calibrate;
mod divergent;
mod floor;
mod judge;
mod metric;
mod near;
mod predictions;
mod rules;
mod teacher;
mod verdict;

use std::collections::BTreeMap;

use record::Step;
use serde::{Deserialize, Serialize};

pub use baseline::{Majority, majority};
pub use calibrate::Certificate;
pub use divergent::{Divergent, divergent};
pub use floor::{Floor, Pair};
pub use judge::{Judged, Row};
pub use metric::{Fault, Mode, ModeError};
pub use near::HeldPrompts;
pub use predictions::PredictionsFile;
pub use rules::Rules;
pub use teacher::teacher;
pub use verdict::{Costs, Evidence};

/// What must be right for an extracted object to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JsonGate {
    /// The whole object: what reads it acts on all of it, and at a field F1 of 0.95 every second
    /// order of ten fields may be wrong.
    #[default]
    Exact,
    /// The mean field F1, with schema validity as a second gate.
    Fields,
}

/// What to make of an answer without a tool call in a task of tool calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoCallText {
    /// Its text must be the logged one: otherwise free text would pass without being read.
    #[default]
    Exact,
    /// Nobody reads it: that no tool is called is enough.
    Ignore,
}

/// The evaluation step: its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Agreement that the lower bound must reach, 0 to 1.
    pub bar: f64,
    /// Chance of error of each one-sided bound.
    pub alpha: f64,
    /// Whether a task on which the large model does not agree with itself may be measured against
    /// that floor and not against `bar`.
    pub against_floor: bool,
    /// How far below the floor the small model may lie, where `against_floor` is set.
    pub margin: f64,
    /// Fewest repeated prompts that make a floor.
    pub floor_prompts: u64,
    /// Share of a task's cost that must be saved; more than this.
    pub min_saving: f64,
    /// Smallest share of calls worth a route.
    pub min_share: f64,
    /// What must be right for an extracted object to count.
    pub json_gate: JsonGate,
    /// What to make of an answer without a tool call in a task of tool calls.
    pub no_call_text: NoCallText,
    /// How texts inside tool arguments and JSON fields are compared.
    pub texts: Mode,
    /// How such texts are compared where the train split shows sentences (over six words on average).
    pub sentences: Mode,
    /// Relative tolerance of numbers.
    pub number_tolerance: f64,
    /// Modes by place: `/tool/argument`, `/field`, array positions as `*`.
    pub arguments: BTreeMap<String, Mode>,
    /// Answers of a text task up to this many tokens (99th percentile) are compared exactly; longer
    /// ones are free text, which is never replaced.
    pub short_text_tokens: u64,
    /// Seed of the row picked from each conversation.
    pub seed: u64,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            bar: 0.95,
            alpha: 0.05,
            against_floor: false,
            margin: 0.03,
            floor_prompts: 59,
            min_saving: 0.0,
            min_share: 0.2,
            json_gate: JsonGate::Exact,
            no_call_text: NoCallText::Exact,
            texts: Mode::Exact,
            sentences: Mode::Exact,
            number_tolerance: 0.0,
            arguments: BTreeMap::new(),
            short_text_tokens: 16,
            seed: 0,
        }
    }
}

impl Step for Evaluate {
    const NAME: &'static str = "evaluate";
    const REVISION: u32 = 2;
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A predictor gave another number of answers than it was asked for.
    #[error("`{name}` gave {got} answers to {expected} prompts")]
    Answers {
        /// The predictor.
        name: String,
        /// Prompts asked.
        expected: usize,
        /// Answers given.
        got: usize,
    },
}
