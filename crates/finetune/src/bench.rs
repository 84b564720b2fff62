//! How fast steps are. Learns nothing.
use model::train::{TrainModel, Work};

use crate::batches::{Batches, micro_batches};
use crate::examples::Example;
use crate::optimizer::{AdamW, Constants};
use crate::trainer::window;
use crate::{Error, Finetune};

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Calls that it stands for.
    pub calls: u64,
    /// Tokens of these calls, prompt and answer, each call counted by itself.
    pub call_tokens: u64,
    /// Tokens of its sequences, those that they have in common counted for each.
    pub tokens: u64,
    /// Rows that went through the model.
    pub rows: u64,
    /// Floating-point operations at least.
    pub flops: f64,
    /// Seconds, the update included.
    pub seconds: f64,
}

/// Takes `steps` steps of a run over these examples, after one that is not counted. `seconds` reads a monotonic clock, which this crate
/// does not have.
///
/// # Errors
/// When a tensor operation fails.
pub fn bench(
    model: &TrainModel,
    examples: &[Example],
    settings: &Finetune,
    steps: u64,
    seconds: &mut dyn FnMut() -> f64,
) -> Result<Vec<Measured>, Error> {
    let mut batches = Batches::new(examples.iter().collect(), settings);
    let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut optimizer = AdamW::new(constants, model.parameters());
    let mut measured = Vec::new();
    // the first step fills caches and starts threads
    for step in 1..=steps + 1 {
        let examples = batches.examples(step);
        let sequences: Vec<_> = examples.iter().map(|example| example.sequence.clone()).collect();
        let tokens: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
        let work: Vec<Work> = micro_batches(sequences.clone(), settings.micro_tokens).iter().map(|batch| model.work(batch)).collect();
        let start = seconds();
        let (loss, gradients) = window(model, sequences, settings.micro_tokens)?;
        // at a rate of zero an update costs what it always does and changes nothing
        optimizer.step(model.parameters(), &gradients, 1.0 / loss.weight, 0.0)?;
        measured.push(Measured {
            calls: examples.iter().map(|example| example.calls).sum(),
            call_tokens: examples.iter().map(|example| example.tokens).sum(),
            tokens: tokens as u64,
            rows: work.iter().map(|work| work.rows).sum(),
            flops: work.iter().map(|work| work.flops).sum(),
            seconds: seconds() - start,
        });
    }
    Ok(measured.split_off(1))
}

/// Training tokens per second over these examples, those that calls have in common counted for each. Fewer examples have less in common,
/// so the rate is to be taken of those that a run will use.
///
/// # Errors
/// As [`bench`].
pub fn throughput(model: &TrainModel, examples: &[Example], settings: &Finetune, seconds: &mut dyn FnMut() -> f64) -> Result<f64, Error> {
    let measured = bench(model, examples, settings, 1, seconds)?;
    #[expect(clippy::cast_precision_loss, reason = "tokens of one batch")]
    let rate = |step: &Measured| step.tokens as f64 / step.seconds.max(1e-6);
    Ok(measured.iter().map(rate).sum())
}
