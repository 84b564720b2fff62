//! What is to be done, task by task, and why.
use std::collections::BTreeMap;

use record::TaskId;
use serde::{Deserialize, Serialize};

use crate::{Gate, Outcome, Sequences};

/// Version of the plan's JSON layout.
pub const SCHEMA_VERSION: u32 = 1;

/// What to do with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Nothing.
    Keep,
    /// Back to step 2 of the paper: curate the new data and train again.
    Retrain,
    /// Back to step 4: choose another small model.
    Reselect,
    /// Let the small model take over.
    Promote,
    /// Take the deployed small model out of service.
    RollBack,
    /// Not seen before: select and train for it.
    NewTask,
}

impl Change {
    /// The step of the paper's six that the work goes back to; none where nothing is computed.
    #[must_use]
    pub const fn back_to(self) -> Option<u8> {
        match self {
            Self::Retrain => Some(2),
            Self::Reselect | Self::NewTask => Some(4),
            Self::Keep | Self::Promote | Self::RollBack => None,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Retrain => "retrain",
            Self::Reselect => "reselect",
            Self::Promote => "promote",
            Self::RollBack => "roll-back",
            Self::NewTask => "new-task",
        })
    }
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The task.
    pub task: TaskId,
    /// Its name for people.
    pub name: String,
    /// What to do.
    pub change: Change,
    /// The step of the paper's six that the work goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u8>,
    /// The model that the change is about: promoted, rolled back to, or to train again from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Why, in one sentence with the numbers.
    pub reason: String,
    /// The numbers by name.
    pub numbers: BTreeMap<String, f64>,
}

/// What follows from a run and its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this layout.
    pub schema_version: u32,
    /// The run.
    pub run: String,
    /// The run it is compared with.
    pub parent: String,
    /// One action for each task of either run, in the order of their ids.
    pub actions: Vec<Action>,
    /// What concerns no single task.
    pub notes: Vec<String>,
    /// Gates of what is deployed.
    pub gates: Vec<Gate>,
    /// All gates together.
    pub outcome: Outcome,
    /// Evidence so far, for the next run.
    pub sequences: Sequences,
}
