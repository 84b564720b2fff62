//! What can go wrong while an adapter is trained, with the numbers that say why.
//!
//! Knows neither commands nor files; whoever speaks to a person adds the command that cures it.

use record::TooLong;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be trained with.
    #[error("`{key}` = `{found}` cannot be used: {expected}")]
    Setting {
        /// Key of the setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// Nothing to learn from.
    #[error("no training example is left of {calls} calls: {}{}", reasons(left_out), tail(too_long.as_ref()))]
    NoExamples {
        /// Calls of the train split that were looked at.
        calls: u64,
        /// Why they were left out, with counts.
        left_out: Vec<(String, u64)>,
        /// The tail of those that were too long.
        too_long: Option<TooLong>,
    },
    /// A parameter that should learn got no gradient: an operation of the model hides it.
    #[error("parameter `{name}` got no gradient at step {step}: it would never learn")]
    MissingGradient {
        /// Name of the parameter.
        name: String,
        /// Step, from 1.
        step: u64,
    },
    /// A number overflowed.
    #[error("the {what} is {value} at step {step}; a lower `learning_rate` (now {learning_rate:e}) or a longer `warmup` may cure it")]
    NotFinite {
        /// `loss`, `gradient norm` or `validation loss`.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Step, from 1.
        step: u64,
        /// Learning rate of the step.
        learning_rate: f64,
    },
    /// The loss left the place it started from, upwards.
    #[error("the loss rose from {start:.3} to {loss:.3} by step {step}; a lower `learning_rate` (now {learning_rate:e}) may cure it")]
    Exploded {
        /// Mean loss of the first steps, nats per token.
        start: f64,
        /// Mean loss of the last steps, nats per token.
        loss: f64,
        /// Step, from 1.
        step: u64,
        /// Learning rate of the step.
        learning_rate: f64,
    },
    /// A step whose sequences carry no loss at all.
    #[error("no sequence of step {step} carries loss")]
    EmptyStep {
        /// Step, from 1.
        step: u64,
    },
    /// A checkpoint that is damaged or belongs to another run.
    #[error("checkpoint `{name}` cannot be resumed: {cause}")]
    Checkpoint {
        /// Name of the checkpoint.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The place for checkpoints failed.
    #[error("`{name}` could not be kept: {cause}")]
    Sink {
        /// Name of the blob.
        name: String,
        /// What the sink said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An adapter that does not fit the model.
    #[error("the adapter does not fit: {0}")]
    Adapter(String),
    /// A model that torchtune has no builder for.
    #[error("torchtune cannot train `{model}`: {cause}")]
    Unbuilt {
        /// Name of the base model.
        model: String,
        /// What of it.
        cause: &'static str,
    },
    /// What another trainer was given, or gave back, is not what it should be.
    #[error("`{file}`: `{field}` is {found}, expected {expected}")]
    Returned {
        /// The file.
        file: &'static str,
        /// The key in it, or the tensor.
        field: String,
        /// What it holds.
        found: String,
        /// What is accepted.
        expected: String,
        /// What may be done about it.
        cure: &'static str,
    },
    /// An export that does not answer as the model in memory does.
    #[error("what was written is not the model in memory: {cause}")]
    Broken {
        /// In what it differs.
        cause: String,
    },
    /// The model refused.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// Tensors could not be written or read as safetensors.
    #[error("safetensors: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
}

/// How long what was too long is, as the end of an error.
fn tail(too_long: Option<&TooLong>) -> String {
    too_long.map_or_else(String::new, |too_long| format!(" ({too_long})"))
}

/// `3 too long, 2 empty`, for one line of an error.
fn reasons(left_out: &[(String, u64)]) -> String {
    if left_out.is_empty() {
        return "there were no calls".to_owned();
    }
    let parts: Vec<_> = left_out.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.join(", ")
}
