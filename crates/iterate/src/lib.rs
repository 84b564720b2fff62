//! This run against its parent → a plan: what to keep, retrain, reselect, promote, roll back.
//!
//! A run never changes what runs before it decided; a helix, not a loop. What is judged night after
//! night is judged by e-values, which stay valid however often one looks. Knows runs as plain values
//! ([`RunView`]); no store, no model, no clock.
mod case;
mod compare;
mod gate;
mod lengths;
mod plan;
mod sequence;
mod view;

use record::Step;
use serde::{Deserialize, Serialize};

pub use gate::{Gate, Outcome, gates_of, outcome};
pub use lengths::Lengths;
pub use plan::{Action, Change, Plan, SCHEMA_VERSION};
pub use sequence::{Evidence, Hashes, Sequence};
pub use view::{Deployed, Fresh, RunView, Sequences, TaskView};

/// The iteration step: its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Iterate {
    /// Chance of ever promoting a model that does not reach its bar, and of ever rolling back one that does.
    pub alpha: f64,
    /// How far below its bar a deployed model may fall before the evidence counts against it.
    pub slack: f64,
    /// Population stability index from which on a difference counts as drift, if chance does not explain it.
    pub drift: f64,
    /// Growth of a task's train conversations since its model was trained from which on training again is worth it (2 = doubled).
    pub growth: f64,
    /// Share of calls that belong to no task from which on new tasks are to be looked for.
    pub unassigned: f64,
}

impl Default for Iterate {
    fn default() -> Self {
        Self { alpha: 0.05, slack: 0.02, drift: 0.2, growth: 2.0, unassigned: 0.1 }
    }
}

impl Step for Iterate {
    const NAME: &'static str = "iterate";
    const REVISION: u32 = 1;
}
