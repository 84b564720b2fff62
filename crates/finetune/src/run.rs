//! The step itself: examples and a plan in, a trained model and its manifest out.
use record::{Adapter, Fingerprint, Progress, TaskId};

use crate::batches::Batches;
use crate::trainer::{Recipe, Windows, run};
use crate::{CHECKPOINT, CheckpointSink, Error, Examples, Finetune, Learner, Mode, Outcome, PLAN, Plan, Schedule, Sequence};

/// Reason of the calls that a run was too short to see.
pub const OVER_BUDGET: &str = "over the budget of steps";

/// Names that the manifest carries and training does not care about.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The task.
    pub task: &'a TaskId,
    /// Name of the base model.
    pub model: &'a str,
    /// Folder of the adapter, relative to the artifact folder.
    pub folder: &'a str,
    /// Fingerprint of the base weights.
    pub base: &'a Fingerprint,
}

impl Finetune {
    /// Trains, or goes on from the sink's checkpoint. The learner ends with the last weights that answer the validation
    /// part about as well as any did, or with the last ones where nothing validates.
    ///
    /// # Errors
    /// When numbers overflow, the loss explodes, a parameter gets no gradient, the sink fails, or its checkpoint is of
    /// other settings or data.
    pub fn train(
        &self,
        learner: &dyn Learner,
        examples: &Examples,
        plan: &Plan,
        sink: &mut dyn CheckpointSink,
        progress: &dyn Progress,
    ) -> Result<Outcome, Error> {
        self.check()?;
        let recorded = record_plan(plan, sink)?;
        let used = examples.train.iter().take(plan.examples).collect();
        let mut batches = Batches::new(used, self);
        let validation: Vec<Sequence> = examples.validation.iter().take(plan.validation).map(|e| e.sequence.clone()).collect();
        let recipe = self.recipe(examples, plan, &recorded);
        run(learner, Windows { source: &mut |step| batches.step(step), validation: &validation }, &recipe, sink, progress)
    }

    fn recipe(&self, examples: &Examples, plan: &Plan, recorded: &[u8]) -> Recipe {
        Recipe {
            identity: Fingerprint::of(self, &[&examples.fingerprint, &Fingerprint::of_bytes(recorded)]).0,
            steps: plan.steps,
            learning_rate: plan.learning_rate,
            schedule: Schedule::Cosine { warmup: self.warmup_steps(plan.steps), steps: plan.steps },
            weight_decay: self.weight_decay,
            beta2: 0.999,
            clip: self.clip,
            micro_tokens: self.micro_tokens,
            checkpoint_every: self.checkpoint_every,
            validate_every: plan.validate_every,
            patience: Some(self.patience),
        }
    }

    /// The manifest of a finished run.
    #[must_use]
    pub fn manifest(&self, origin: Origin<'_>, examples: &Examples, plan: &Plan, outcome: &Outcome) -> Adapter {
        let mut left_out = examples.left_out.clone();
        let over_budget = Some(plan.over_budget).filter(|unseen| unseen.calls > 0);
        left_out.extend(over_budget.map(|unseen| (OVER_BUDGET.to_owned(), unseen.calls)));
        Adapter {
            fingerprint: Fingerprint::of(self, &[origin.base, &examples.fingerprint, &Fingerprint::of_bytes(&plan.steps.to_le_bytes())]),
            task: origin.task.clone(),
            model: origin.model.to_owned(),
            folder: origin.folder.to_owned(),
            rank: if self.mode == Mode::Lora { self.rank } else { 0 },
            alpha: self.alpha,
            steps: outcome.steps,
            best_step: outcome.best_step,
            train_loss: outcome.train_loss,
            validation_loss: outcome.validation_loss,
            validation_right: outcome.validation_right,
            soft_targets: examples.softened.known(),
            examples: plan.calls,
            left_out,
            too_long: examples.too_long.clone(),
            over_budget,
            repeats: examples.repeats,
            seed: self.seed,
            base: origin.base.clone(),
            data: examples.fingerprint.clone(),
            dropped: examples.dropped.clone(),
        }
    }
}

/// Leaves the plan in the sink before the first step. A run that has a checkpoint keeps the plan it began with.
fn record_plan(plan: &Plan, sink: &mut dyn CheckpointSink) -> Result<Vec<u8>, Error> {
    let bytes = serde_json::to_vec_pretty(plan).expect("plain data always serialises");
    let failed = |cause| Error::Sink { name: PLAN.to_owned(), cause };
    if Plan::recorded(sink)?.as_ref() != Some(plan) {
        if sink.load(CHECKPOINT).map_err(failed)?.is_some() {
            let cause = "the run began with another plan: take `Plan::recorded`".to_owned();
            return Err(Error::Checkpoint { name: PLAN.to_owned(), cause });
        }
        sink.save(PLAN, &bytes).map_err(failed)?;
    }
    Ok(bytes)
}
