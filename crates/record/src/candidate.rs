//! A small model considered for a task.
use serde::{Deserialize, Serialize};

use crate::TaskId;

/// One model of the catalogue against one task: ranked, or rejected with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The task.
    pub task: TaskId,
    /// Name of the model in the catalogue.
    pub model: String,
    /// 1 is best; none where rejected.
    pub rank: Option<u32>,
    /// What the ranking is by, higher is better; none where rejected or unknown.
    pub score: Option<f64>,
    /// Why it ranks where it does, and what is unknown.
    pub reasons: Vec<String>,
    /// The filter that rejected it (`licence`, `context`, `memory`, `tools`, `weights`, …).
    pub rejected_by: Option<String>,
    /// Local folder with the weights, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
