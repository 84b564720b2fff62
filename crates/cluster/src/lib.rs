//! Clean calls to tasks: which calls could one small model take over, and to which does a new call belong.
//!
//! Three channels are fused. What a request states (workload, tool set, output schema) separates for certain; the
//! prompt's template, mined by segments, separates what remains; calls without a template are told apart by an
//! embedding. Answers take part while fitting, through their shape, and decide a task's kind; a call is placed from
//! its prompt alone, because when it counts there is no answer yet. Knows no store, no model but the embedder it is handed, no split but train.
//!
//! ```
//! use cluster::{Cluster, HashEmbedder, Summary};
//! use record::{Assigner, Shares, Silent};
//!
//! # let call: record::Call = serde_json::from_value(serde_json::json!({"source_id": "1", "conversation_id": "c",
//! #   "request": {"messages": [{"role": "user", "content": "hello"}]}, "response": {}})).unwrap();
//! # let calls = record::split([record::Clean::vouch(call.clone())], 0, Shares::default());
//! # let prompt = record::Clean::vouch(call);
//! let cluster = Cluster::default();
//! let mut summary = cluster.summary();
//! summary.observe(&calls.train); // once per batch
//! let tasks = cluster.fit(&summary, &HashEmbedder::default(), None, &Silent)?;
//! let assignment = tasks.assign(prompt.prompt());
//! # assert_eq!(assignment.task, None);
//! # Ok::<(), cluster::Error>(())
//! ```
mod action;
mod agreement;
mod error;
mod fit;
mod identity;
mod intents;
mod kind;
mod leader;
mod name;
mod segment;
mod slots;
mod sparse;
mod stability;
mod summary;
mod tally;
mod tasks;
mod verbs;

use record::{Progress, Step};
use serde::{Deserialize, Serialize};

pub use action::{Action, Key, turn};
pub use agreement::adjusted_rand;
pub use error::Error;
pub use model::{Embedder, HashEmbedder};
pub(crate) use segment::Segment;
pub use summary::Summary;
pub use tally::Tally;
pub use tasks::{Fitted, Placer, Tasks, UNASSIGNED};

/// The step: how finely a log is cut into tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Calls of the train split below which a cluster is no task but a few stray calls.
    pub min_calls: u64,
    /// Cosine of two templates from which they are one task, 0.5 to 0.9. Measured to be flat between .65 and .75.
    pub threshold: f32,
    /// Whether a task is split by what the prompt answers to (`after-user`, `after-TOOL`). Off: an engineer knows an
    /// agent by its template, and a part of its turns is better routed by confidence than by a guess made here.
    pub by_turn: bool,
    /// Most intents that calls without a template are split into, if the split is stable; 0 keeps them one task.
    pub max_intents: usize,
    /// Seed of the free-text channel.
    pub seed: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { min_calls: 5, threshold: 0.7, by_turn: false, max_intents: 32, seed: 0 }
    }
}

impl Step for Cluster {
    const NAME: &'static str = "cluster";
    const REVISION: u32 = 2;
}

impl Cluster {
    /// An empty summary to be filled batch by batch.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::default()
    }

    /// Fits tasks. With `known` tasks, what is found again keeps its id and name, a changed prompt gets the old task as
    /// parent, and what is not seen this time stays.
    ///
    /// # Errors
    /// When a setting is out of range or the embedder fails.
    pub fn fit(&self, summary: &Summary, embedder: &dyn Embedder, known: Option<&Tasks>, progress: &dyn Progress) -> Result<Tasks, Error> {
        if !(0.5..=0.9).contains(&self.threshold) {
            return Err(Error::Setting { setting: "threshold", got: self.threshold.to_string(), expected: "0.5 to 0.9" });
        }
        fit::fit(self, summary, embedder, known, progress)
    }
}
