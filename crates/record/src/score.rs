//! What was measured on held-out conversations, and what follows from it.
use serde::{Deserialize, Serialize};

use crate::TaskId;

/// How an answer is compared with the logged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The set of tool calls, names and arguments, is equal: 0 or 1.
    ToolCall,
    /// The JSON values are equal: 0 or 1.
    JsonExact,
    /// F1 over the fields of the JSON value: 0 to 1.
    FieldF1,
    /// The label is equal: 0 or 1.
    Label,
    /// The normalised text is equal: 0 or 1.
    TextExact,
    /// Longest common subsequence of words, F1: 0 to 1. Never enough for a replacement.
    RougeL,
}

/// Who gave the answers that a score is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// A small model with its adapter.
    Tuned,
    /// The same small model untouched.
    Base,
    /// The most frequent answer of the train split.
    Majority,
    /// The large model against itself on repeated prompts.
    Teacher,
    /// A predictions file or an endpoint.
    External,
}

/// One contender's agreement with the log on one task's held-out calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The task.
    pub task: TaskId,
    /// Name of the contender (`nano + adapter 3f2a`, `majority answer`, …).
    pub candidate: String,
    /// What kind of contender it is.
    pub contender: Contender,
    /// How answers were compared.
    pub metric: Metric,
    /// Calls judged.
    pub n: u64,
    /// Conversations they come from.
    pub conversations: u64,
    /// Mean score, 0 to 1; none with nothing to judge.
    pub score: Option<f64>,
    /// One-sided 95 % lower bound.
    pub lower: Option<f64>,
    /// One-sided 95 % upper bound.
    pub upper: Option<f64>,
    /// The method of the bounds (`clopper-pearson`, `clustered-wilson`, …).
    pub method: String,
    /// Reported beside the score: schema validity, error counts, token F1 and the like.
    #[serde(default)]
    pub beside: std::collections::BTreeMap<String, f64>,
}

/// What to do with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The small model takes all calls.
    Replace,
    /// The small model takes the calls it is sure of.
    Route,
    /// The large model keeps the task.
    Keep,
    /// Too little data to say.
    Insufficient,
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::Route => "route",
            Self::Keep => "keep",
            Self::Insufficient => "insufficient",
        })
    }
}

/// The decision for one task, with the score it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The task.
    pub task: TaskId,
    /// The contender judged best on the calibration split; none if there was none.
    pub candidate: Option<String>,
    /// What to do.
    pub decision: Decision,
    /// Why, in one sentence with the numbers.
    pub reason: String,
    /// Held-out conversations still needed before a decision is possible.
    pub needed: Option<u64>,
    /// The bar the lower bound had to reach.
    pub bar: f64,
    /// Confidence at or above which the small model answers, where the decision is `route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Share of calls the small model takes.
    pub small_share: f64,
    /// Cost of the task's calls as logged, in US dollars.
    pub cost_before_usd: Option<f64>,
    /// Cost had the decision been in force, in US dollars.
    pub cost_after_usd: Option<f64>,
    /// The judged score.
    pub score: Option<Score>,
}
