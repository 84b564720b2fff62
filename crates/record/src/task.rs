//! A task: calls that one small model could take over.
use serde::{Deserialize, Serialize};

/// Stable name of a task across runs: derived from what the task's calls share at its birth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub String);

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the answers of a task are, which decides how they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Tool calls, with or without text beside them.
    ToolCall,
    /// One JSON value.
    Json,
    /// One of a few short texts.
    Label,
    /// Free text.
    Text,
}

/// A task as `cluster` found it. Counts are over the whole log, every split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Stable identity.
    pub task: TaskId,
    /// A name a person recognises, unique within a run.
    pub name: String,
    /// What its answers are.
    pub kind: TaskKind,
    /// Number of calls.
    pub calls: u64,
    /// Number of conversations.
    pub conversations: u64,
    /// What the calls cost, as far as the log or the price list says.
    pub cost_usd: f64,
    /// Agreement of the clustering with itself under resampling, 0 to 1.
    pub stability: Option<f64>,
    /// 50th and 99th percentile of prompt tokens.
    pub prompt_tokens: [u64; 2],
    /// 50th and 99th percentile of answer tokens.
    pub answer_tokens: [u64; 2],
    /// Names of the tools its calls offer, sorted.
    pub tools: Vec<String>,
    /// The task this one was born from, when a prompt changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    /// Whether this is the bucket of calls that belong to no task; it stays with the large model.
    #[serde(default)]
    pub noise: bool,
}

/// Where a call belongs, decided from its prompt alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The nearest task; none where the call belongs to no task.
    pub task: Option<TaskId>,
    /// Distance to it, 0 (same) to 1.
    pub distance: f64,
    /// Whether the call is near enough to be of that task.
    pub known: bool,
}
