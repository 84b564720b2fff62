//! `sweep`: the learning rate is chosen by short runs, before the run whose weights are kept.
//!
//! A trial is a run like any other, only shorter: the beginning of the same examples under a schedule of its own that falls to its
//! floor, then one look at the validation part. Trials see the train split alone. Knows not where blobs go.
use record::Progress;
use serde::{Deserialize, Serialize};

use crate::trainer::{restore, weights};
use crate::{CheckpointSink, Error, Examples, Finetune, Learner, Plan, SinkError};

/// Name of the trials so far, in the sink and beside the adapter.
pub const SWEEP: &str = "sweep.json";

/// Rates that are tried, as multiples of the configured one or of the rule's. That one comes first: it wins a tie.
const FACTORS: [f64; 3] = [1.0, 0.3, 3.0];

/// One trial in so many steps of the run.
const SHARE: u64 = 5;

/// Steps of a trial at least, if the run has as many: with fewer, warm-up would be most of it.
const LEAST: u64 = 20;

/// A rate and how a short run with it answers the validation part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Validation loss after the last step, nats per token that carries loss; none where the run diverged.
    pub validation_loss: Option<f64>,
    /// Share of the validation answers that are then right to the last token.
    pub validation_right: Option<f64>,
}

/// What was tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Peak learning rate that was chosen: the one of lowest validation loss. None while trials are left.
    pub learning_rate: Option<f64>,
    /// Optimiser steps of each trial.
    pub steps: u64,
    /// The trials so far; none where nothing validates, and the rate stays as planned.
    pub trials: Vec<Trial>,
    /// The plan that they share, with the rate as it was before.
    pub plan: Plan,
}

impl Sweep {
    /// The sweep of this sink's run, finished or not, if it began.
    ///
    /// # Errors
    /// When the sink fails or holds something else.
    pub fn recorded(sink: &mut dyn CheckpointSink) -> Result<Option<Self>, Error> {
        let Some(bytes) = sink.load(SWEEP).map_err(failed)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|cause| broken(&cause.to_string()))
    }

    /// Settings and plan of the run that follows: those of a run with the chosen rate configured.
    #[must_use]
    pub fn settled(&self, settings: &Finetune) -> (Finetune, Plan) {
        let learning_rate = self.learning_rate.unwrap_or(self.plan.learning_rate);
        (settings.at(learning_rate), Plan { learning_rate, ..self.plan.clone() })
    }

    /// As JSON, the same bytes for the same trials.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data always serialises")
    }

    fn choose(&mut self) {
        let measured = self.trials.iter().filter_map(|trial| Some((trial.learning_rate, trial.validation_loss?)));
        let best = measured.min_by(|(_, one), (_, other)| one.total_cmp(other));
        self.learning_rate = Some(best.map_or(self.plan.learning_rate, |(rate, _)| rate));
    }
}

impl Finetune {
    /// Tries rates, or goes on with it, and leaves the learner as it was: what is trained afterwards by [`Sweep::settled`] has the same
    /// bits as a run with that rate configured. Each trial has checkpoints of its own in the sink. A trial that diverges is noted and
    /// not chosen; if all do, the rate stays, and the run says why it fails.
    ///
    /// # Errors
    /// As [`Finetune::train`], save for a trial's divergence; or when the sink holds the sweep of another plan.
    pub fn choose_rate(
        &self,
        learner: &dyn Learner,
        examples: &Examples,
        plan: &Plan,
        sink: &mut dyn CheckpointSink,
        progress: &dyn Progress,
    ) -> Result<Sweep, Error> {
        self.check()?;
        let new = Sweep { learning_rate: None, steps: trial_steps(plan.steps), trials: Vec::new(), plan: plan.clone() };
        let mut sweep = Sweep::recorded(sink)?.unwrap_or(new);
        if sweep.plan != *plan {
            return Err(broken("the sweep began with another plan: take that of `Sweep::recorded`"));
        }
        sink.save(SWEEP, &sweep.to_json()).map_err(failed)?;
        let untrained = weights(learner)?;
        for (number, factor) in FACTORS.iter().enumerate().take(self.trials(examples)).skip(sweep.trials.len()) {
            let mut own = Own { sink: &mut *sink, prefix: format!("trial-{number}.") };
            let trial = self.trial(learner, examples, &sweep, plan.learning_rate * factor, &mut own, progress)?;
            restore(learner, &untrained)?;
            sweep.trials.push(trial);
            sink.save(SWEEP, &sweep.to_json()).map_err(failed)?;
        }
        sweep.choose();
        sink.save(SWEEP, &sweep.to_json()).map_err(failed)?;
        Ok(sweep)
    }

    fn trial(
        &self,
        learner: &dyn Learner,
        examples: &Examples,
        sweep: &Sweep,
        learning_rate: f64,
        sink: &mut dyn CheckpointSink,
        progress: &dyn Progress,
    ) -> Result<Trial, Error> {
        let plan = Plan { steps: sweep.steps, learning_rate, validate_every: sweep.steps, ..sweep.plan.clone() };
        let last = match self.at(learning_rate).train(learner, examples, &plan, sink, progress) {
            Ok(outcome) => outcome.rows.last().cloned(),
            Err(Error::Exploded { .. } | Error::NotFinite { .. }) => None,
            Err(error) => return Err(error),
        };
        let (validation_loss, validation_right) = last.map_or((None, None), |row| (row.validation_loss, row.validation_right));
        Ok(Trial { learning_rate, validation_loss, validation_right })
    }

    /// These settings with a rate configured and nothing to choose.
    fn at(&self, learning_rate: f64) -> Self {
        Self { learning_rate: Some(learning_rate), sweep: false, ..self.clone() }
    }

    /// Trials of a run over these examples.
    pub(crate) fn trials(&self, examples: &Examples) -> usize {
        if self.sweep && !examples.validation.is_empty() { FACTORS.len() } else { 0 }
    }
}

/// Optimiser steps of a trial for a run of so many.
pub(crate) fn trial_steps(steps: u64) -> u64 {
    steps.div_ceil(SHARE).max(LEAST).min(steps)
}

/// What trials add to the work of a run, as a share of it, where it is not very short.
#[expect(clippy::cast_precision_loss, reason = "small counts")]
pub(crate) fn added(trials: usize) -> f64 {
    trials as f64 / SHARE as f64
}

/// A part of a sink under names of its own.
struct Own<'a> {
    sink: &'a mut dyn CheckpointSink,
    prefix: String,
}

impl CheckpointSink for Own<'_> {
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        self.sink.save(&format!("{}{name}", self.prefix), bytes)
    }

    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, SinkError> {
        self.sink.load(&format!("{}{name}", self.prefix))
    }
}

fn failed(cause: SinkError) -> Error {
    Error::Sink { name: SWEEP.to_owned(), cause }
}

fn broken(cause: &str) -> Error {
    Error::Checkpoint { name: SWEEP.to_owned(), cause: cause.to_owned() }
}
