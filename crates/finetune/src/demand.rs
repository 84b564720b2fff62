//! What a planned run asks of the machine, before its first step.
use model::train::{Memory, TrainModel};

use crate::batches::{Batches, micro_batches};
use crate::plan::FORWARD;
use crate::sweep::trial_steps;
use crate::{Examples, Finetune, Plan, Sequence};

/// Steps that are looked at, spread over the run, where it has more.
const LOOKED_AT: u64 = 512;

/// Values that a run holds for each trained one besides the model's: two moments, the gradient and the best weights so far, and all
/// but the gradient once more while a checkpoint is written.
const HELD: u64 = 8;

/// What a run asks of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Floating-point operations at least, looks at the validation part included.
    pub flops: f64,
    /// Bytes of the model and of what is learnt, in the step that takes most. None where another device trains.
    pub memory: Option<Memory>,
}

impl Finetune {
    /// What a run by this plan asks of the machine, its trials included.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn demand(&self, model: &TrainModel, examples: &Examples, plan: &Plan) -> Demand {
        let mut batches = Batches::new(examples.train[..plan.examples].iter().collect(), self);
        let count = plan.steps.min(LOOKED_AT);
        let (mut steps, mut memory) = (0.0, None);
        for step in (0..count).map(|i| 1 + i * plan.steps / count) {
            for batch in micro_batches(batches.step(step), self.micro_tokens) {
                steps += model.work(&batch).flops;
                memory = greater(memory, model.memory(&batch));
            }
        }
        let validation: Vec<Sequence> = examples.validation[..plan.validation].iter().map(|example| example.sequence.clone()).collect();
        let look: f64 = micro_batches(validation, self.micro_tokens).iter().map(|batch| model.work(batch).flops).sum();
        let looks = plan.steps / plan.validate_every.max(1) + 1;
        // a trial looks before its first step and after its last
        let trials = self.trials(examples) as u64;
        let (taken, looks) = (plan.steps + trials * trial_steps(plan.steps), looks + 2 * trials);
        let flops = steps * taken as f64 / count.max(1) as f64 + look * FORWARD * looks as f64;
        let values: usize = model.parameters().values().map(|variable| variable.elem_count()).sum();
        let held = values as u64 * size_of::<f32>() as u64 * HELD;
        let memory = memory.map(|Memory { least, most }| Memory { least: least + held, most: most + held });
        Demand { flops, memory }
    }
}

fn greater(one: Option<Memory>, other: Option<Memory>) -> Option<Memory> {
    let both = one.zip(other).map(|(one, other)| Memory { least: one.least.max(other.least), most: one.most.max(other.most) });
    both.or(one).or(other)
}
