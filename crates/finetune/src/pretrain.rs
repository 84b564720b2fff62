//! Training from a stream of tokens: the same loop, without examples, epochs or early stopping.
//!
//! ```no_run
//! # use finetune::{InMemory, Pretrain, Schedule, Sequence, pretrain};
//! # fn windows(_: u64) -> Vec<Sequence> { Vec::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (config, device) = (model::Config::from_json(b"", "")?, candle_core::Device::Cpu);
//! let model = model::train::TrainModel::random(&config, 7, candle_core::DType::F32, &device)?;
//! let settings = Pretrain {
//!     learning_rate: 2e-3,
//!     schedule: Schedule::WarmupStableDecay { warmup: 200, decay_from: 8_000, steps: 10_000 },
//!     ..Pretrain::new(10_000)
//! };
//! let outcome = pretrain(&model, &mut windows, &[], &settings, &mut InMemory::default(), &record::Silent)?;
//! let weights = model.merged()?; // the trained tensors
//! # Ok(())
//! # }
//! ```
use record::Progress;

use crate::trainer::{Recipe, Windows, run};
use crate::{CheckpointSink, Error, Learner, Outcome, Schedule, Sequence};

/// Settings of a run over a token stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pretrain {
    /// Step to stop at. A resumed run goes on from its checkpoint to here.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How it moves; its own `steps` should be those above.
    pub schedule: Schedule,
    /// Decoupled decay of matrices.
    pub weight_decay: f64,
    /// Second-moment memory of AdamW; 0.95 suits long runs of large batches.
    pub beta2: f64,
    /// Bound on the gradients' norm; 0 for none.
    pub clip: f64,
    /// Most tokens that go through the model at once.
    pub micro_tokens: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between looks at the validation sequences.
    pub validate_every: u64,
}

impl Pretrain {
    /// Settings for a small model: peak 2e-3, 2 % warm-up, the last fifth falling.
    #[must_use]
    pub const fn new(steps: u64) -> Self {
        Self {
            steps,
            learning_rate: 2e-3,
            schedule: Schedule::WarmupStableDecay { warmup: steps / 50 + 1, decay_from: steps - steps / 5, steps },
            weight_decay: 0.1,
            beta2: 0.95,
            clip: 1.0,
            micro_tokens: 8_192,
            checkpoint_every: 200,
            validate_every: 500,
        }
    }
}

/// Trains on what `source` gives for each step (from 1), and goes on from the sink's checkpoint if there is one.
///
/// `source` must be a pure function of the step, else a resumed run sees other data than an unbroken one.
/// Settings may change between runs (see [`Schedule::WarmupStableDecay`]). The model ends with its last weights,
/// whatever the loss on `validation`, which may be empty.
///
/// # Errors
/// When numbers overflow, the loss explodes, a parameter gets no gradient, or the sink fails.
pub fn pretrain(
    learner: &dyn Learner,
    source: &mut dyn FnMut(u64) -> Vec<Sequence>,
    validation: &[Sequence],
    settings: &Pretrain,
    sink: &mut dyn CheckpointSink,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    let recipe = Recipe {
        identity: "pretrain".to_owned(),
        steps: settings.steps,
        learning_rate: settings.learning_rate,
        schedule: settings.schedule,
        weight_decay: settings.weight_decay,
        beta2: settings.beta2,
        clip: settings.clip,
        micro_tokens: settings.micro_tokens,
        checkpoint_every: settings.checkpoint_every,
        validate_every: settings.validate_every,
        patience: None,
    };
    run(learner, Windows { source, validation }, &recipe, sink, progress)
}
