//! A run as its successor sees it.
use std::collections::BTreeMap;

use record::{TaskId, TaskKind, Verdict};
use serde::{Deserialize, Serialize};

use crate::{Evidence, Hashes, Lengths, Sequence};

/// Evidence so far by task, and by the name of the model it is about.
pub type Sequences = BTreeMap<TaskId, BTreeMap<String, Sequence>>;

/// One run in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunView {
    /// Identity of the run.
    pub run: String,
    /// Its tasks.
    pub tasks: Vec<TaskView>,
    /// Calls that belong to no task.
    pub unassigned: u64,
    /// Evidence so far, as the parent's plan left it. Read from the parent alone.
    pub sequences: Sequences,
}

impl RunView {
    /// Calls of the run, those of no task included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.unassigned + self.tasks.iter().map(|task| task.calls).sum::<u64>()
    }

    pub(crate) fn task(&self, id: &TaskId) -> Option<&TaskView> {
        self.tasks.iter().find(|task| task.task == *id)
    }
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Identity, stable across runs.
    pub task: TaskId,
    /// Name for people.
    pub name: String,
    /// What its answers are.
    pub kind: TaskKind,
    /// The task it was born from, when a prompt changed.
    #[serde(default)]
    pub parent: Option<TaskId>,
    /// Calls of this run's log.
    pub calls: u64,
    /// Conversations that a model may be trained on.
    pub train_conversations: u64,
    /// Lengths of its prompts, in tokens or characters, the same in both runs.
    #[serde(default)]
    pub lengths: Lengths,
    /// What this run decided.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// The small model that serves the task now, if any.
    #[serde(default)]
    pub deployed: Option<Deployed>,
    /// The small models that this run judged, deployed or not, on what no earlier run has seen.
    #[serde(default)]
    pub fresh: Vec<Fresh>,
}

/// A small model in service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// Its name.
    pub candidate: String,
    /// Conversations it was trained on.
    pub train_conversations: u64,
    /// Whether an earlier model or the large one can take over again: what a roll-back returns to.
    pub previous: Option<String>,
}

/// What a model was judged on that no earlier run has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fresh {
    /// Name of the model.
    pub candidate: String,
    /// Model, adapter, prompt and catalogue.
    pub hashes: Hashes,
    /// New held-out conversations, one call of each, and how many were right.
    pub evidence: Evidence,
}
