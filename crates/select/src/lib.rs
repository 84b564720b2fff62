//! Tasks and a catalogue to ranked candidates: which small models are worth trying on a task, and why not the others.
//!
//! Hard filters first (licence, context, memory, tools, weights), each rejection with its reason; then an order by the
//! one public column that fits the task's kind. That order only says what to try first: how a model does on the task
//! is measured, not read off a board. Prices of calls live here too. Reads no disk and no network.
mod catalogue;
mod error;
mod filter;
mod hosting;
pub mod prices;
mod rank;
mod size;

use record::{Candidate, Step, Task};
use serde::{Deserialize, Serialize};

pub use catalogue::{Allowed, Bfcl, Catalogue, Figure, Licence, Model, Shape, Sourced};
pub use error::Error;
pub use hosting::Hosting;
pub use prices::{Price, Prices};
pub use size::{parse_size, show_size};

/// What the models are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Making money: the licence must allow it.
    #[default]
    Commercial,
    /// Research: any licence will do.
    Research,
}

/// How weights are held on the device that serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 2 bytes per parameter.
    #[default]
    Bf16,
    /// 8-bit blocks, 1.06 bytes per parameter.
    Q8,
    /// 4-bit blocks (`Q4_K_M`), 0.61 bytes per parameter.
    Q4,
}

/// The step: what the models are for and where they must fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Select {
    /// What the models are for.
    #[serde(rename = "use")]
    pub purpose: Use,
    /// Memory of the serving device in bytes.
    pub device_memory: u64,
    /// How weights are held on it.
    pub precision: Precision,
    /// Prompts that it answers at the same time.
    pub concurrency: u64,
    /// Context needed over the task's 99th percentile of prompt plus answer tokens: a small model's tokenizer may need more tokens.
    pub context_margin: f64,
    /// LoRA rank assumed for the adapter's memory.
    pub rank: u64,
    /// Candidates that get a rank, per task, besides those with local weights.
    pub candidates: usize,
}

impl Default for Select {
    fn default() -> Self {
        Self {
            purpose: Use::Commercial,
            device_memory: 8 << 30,
            precision: Precision::Bf16,
            concurrency: 4,
            context_margin: 1.2,
            rank: 16,
            candidates: 8,
        }
    }
}

impl Step for Select {
    const NAME: &'static str = "select";
    const REVISION: u32 = 1;
}

impl Select {
    /// Ranks the catalogue for each task: ranked candidates in order, then the rejected, each with its reason. The
    /// bucket of unassigned calls gets none: it stays with the large model.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn run(&self, tasks: &[Task], catalogue: &Catalogue) -> Result<Vec<Candidate>, Error> {
        if !(1.0..=4.0).contains(&self.context_margin) {
            return Err(Error::Setting { setting: "context_margin", got: self.context_margin.to_string(), expected: "1 to 4" });
        }
        if self.concurrency == 0 || self.candidates == 0 {
            return Err(Error::Setting { setting: "concurrency` or `select.candidates", got: "0".to_owned(), expected: "at least 1" });
        }
        Ok(tasks.iter().filter(|task| !task.noise).flat_map(|task| rank::rank(self, task, catalogue)).collect())
    }
}
