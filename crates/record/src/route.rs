//! Which model answers which task.
use serde::{Deserialize, Serialize};

use crate::{Shared, TaskId};

/// Who answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    /// The large model the log came from.
    Large {
        /// Its name.
        model: String,
    },
    /// A small model.
    Small {
        /// Name of the base model.
        model: String,
        /// Folder of what was trained, relative to the artifact folder: an adapter, or with rank 0 a whole model that stands
        /// for the base; none for the base as it is.
        adapter: Option<String>,
        /// LoRA rank of the adapter; 0 where there is none.
        rank: usize,
        /// The head of the prompts that it is to be shown none of. A request that does not begin with it goes to the fallback.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shared: Option<Shared>,
    },
}

/// One line of the routing table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The task.
    pub task: TaskId,
    /// A short name that servers can use as a model alias.
    pub alias: String,
    /// Who answers first.
    pub target: Target,
    /// Confidence below which the fallback answers; none means always the target.
    pub threshold: Option<f64>,
    /// Who answers where the target fails.
    pub fallback: Target,
}

/// All routes of a run. Calls of no task go to the large model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutingTable {
    /// Version of this layout.
    pub schema_version: u32,
    /// The routes, by task.
    pub routes: Vec<Route>,
}
