//! The seams: small traits through which `src` hands one step to another.
use crate::{Assignment, Call, Prompt, Reject, Response};

/// Takes what `collect` or the gateway gathered. Implemented by the store.
pub trait Recorder {
    /// What can go wrong while writing.
    type Error;
    /// Writes a batch durably before it returns. A call already known adds nothing.
    ///
    /// # Errors
    /// When the batch could not be written; then none of it was.
    fn record(&mut self, calls: Vec<Call>, rejects: Vec<Reject>) -> Result<(), Self::Error>;
}

/// Places a call from its prompt alone. Implemented by the tasks that `cluster` found.
pub trait Assigner: Sync {
    /// The task of a prompt.
    fn assign(&self, prompt: Prompt<'_>) -> Assignment;
}

/// One answer of a predictor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// The answer; none where the predictor has none for this call.
    pub response: Option<Response>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// How sure the predictor is, 0 to 1 (geometric mean of token probabilities for a local model).
    pub confidence: Option<f64>,
    /// Wall time in milliseconds, where a single call can be timed.
    pub latency_ms: Option<f64>,
    /// Prompt and answer tokens in the predictor's own tokenizer.
    pub tokens: Option<(u64, u64)>,
}

/// A predictor cannot go on at all. (No answer for one call is a [`Prediction`] with its `error`.)
#[derive(Debug, thiserror::Error)]
#[error("`{name}` cannot answer: {cause}")]
pub struct PredictError {
    /// Name of the predictor.
    pub name: String,
    /// What happened.
    pub cause: String,
}

/// Answers prompts: a local model, an endpoint, a file of predictions.
pub trait Predictor {
    /// Name for tables.
    fn name(&self) -> String;
    /// Answers in the order of the prompts.
    ///
    /// # Errors
    /// When the predictor as a whole fails.
    fn predict(&mut self, prompts: &[Prompt<'_>], progress: &dyn Progress) -> Result<Vec<Prediction>, PredictError>;
}

/// Knows the prompts that are held out or calibrated on, and says nothing of them but whether another nearly repeats one. Implemented
/// by `evaluate`, which may see them; `finetune` learns from no such call.
pub trait Withheld: Sync {
    /// Whether a prompt nearly repeats one of them.
    fn near(&self, prompt: Prompt<'_>) -> bool;
}

/// Nothing is withheld.
impl Withheld for () {
    fn near(&self, _: Prompt<'_>) -> bool {
        false
    }
}

/// Tells a person how far a long work is. Implemented by the terminal; steps only count.
pub trait Progress: Sync {
    /// Begins a piece of work of `total` units (0 where unknown).
    fn begin(&self, what: &str, total: u64, unit: &'static str);
    /// `by` more units are done.
    fn advance(&self, by: u64);
    /// A short word beside the bar, such as the current loss.
    fn note(&self, text: &str);
    /// The work begun last is done.
    fn end(&self);
}

/// Progress nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn end(&self) {}
}
