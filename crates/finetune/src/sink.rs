//! Where checkpoints go. The crate itself touches no disk.
use std::collections::BTreeMap;

/// What went wrong in a sink.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps named blobs of one run. Implemented by the store (and by whoever trains outside of it).
///
/// `save` is atomic: after a crash, `load` gives the old bytes or the new ones, never a mixture. The run's whole
/// state is one blob, [`CHECKPOINT`]; [`METRICS`] is a copy of what it holds, for people to follow.
pub trait CheckpointSink {
    /// Replaces the blob of that name.
    ///
    /// # Errors
    /// When it could not be written; the old one is then untouched.
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError>;

    /// The blob of that name, if there is one.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, SinkError>;
}

/// Name of the checkpoint: everything a run needs to go on, as safetensors.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// Name of the metrics so far, one JSON object a line.
pub const METRICS: &str = "metrics.jsonl";
/// Name of the plan: the steps that a budget was turned into, once.
pub const PLAN: &str = "plan.json";

/// Keeps blobs in memory: for tests, and for runs so short that nothing is lost with them.
#[derive(Clone, Debug, Default)]
pub struct InMemory(pub BTreeMap<String, Vec<u8>>);

impl CheckpointSink for InMemory {
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, SinkError> {
        Ok(self.0.get(name).cloned())
    }
}
