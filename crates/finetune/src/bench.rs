//! How fast steps are. Learns nothing that is kept.
use model::train::{TrainModel, Work};

use crate::batches::{Batches, micro_batches};
use crate::optimizer::{AdamW, Constants};
use crate::trainer::window;
use crate::{Error, Examples, Finetune};

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Calls that it stands for.
    pub calls: u64,
    /// Tokens of these calls, prompt and answer, each call counted by itself.
    pub call_tokens: u64,
    /// Rows that went through the model.
    pub rows: u64,
    /// Floating-point operations at least.
    pub flops: f64,
    /// Seconds, the update included.
    pub seconds: f64,
}

/// Takes `steps` steps of a run, after one that is not counted. `seconds` reads a monotonic clock, which this crate does not have.
///
/// # Errors
/// When a tensor operation fails.
pub fn bench(
    model: &TrainModel,
    examples: &Examples,
    settings: &Finetune,
    steps: u64,
    seconds: &mut dyn FnMut() -> f64,
) -> Result<Vec<Measured>, Error> {
    let mut batches = Batches::new(examples.train.iter().collect(), settings);
    let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut optimizer = AdamW::new(constants, model.parameters());
    let mut measured = Vec::new();
    for step in 1..=steps + 1 {
        let examples = batches.examples(step);
        let sequences: Vec<_> = examples.iter().map(|example| example.sequence.clone()).collect();
        let work: Vec<Work> = micro_batches(sequences.clone(), settings.micro_tokens).iter().map(|batch| model.work(batch)).collect();
        let start = seconds();
        let (loss, gradients) = window(model, sequences, settings.micro_tokens)?;
        // the rate is tiny: the next step is to cost what this one does
        optimizer.step(model.parameters(), &gradients, 1.0 / loss.weight, 1e-9)?;
        measured.push(Measured {
            calls: examples.iter().map(|example| example.calls).sum(),
            call_tokens: examples.iter().map(|example| example.tokens).sum(),
            rows: work.iter().map(|work| work.rows).sum(),
            flops: work.iter().map(|work| work.flops).sum(),
            seconds: seconds() - start,
        });
    }
    Ok(measured.split_off(1))
}
