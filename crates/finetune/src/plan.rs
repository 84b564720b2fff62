//! How long a run is. A budget becomes steps once, here; the steps are what the run records and repeats by.
use std::collections::BTreeSet;

use model::Config;
use record::Unseen;
use serde::{Deserialize, Serialize};

use crate::batches::Batches;
use crate::examples::{Example, calls};
use crate::sweep::added;
use crate::{CheckpointSink, Error, Examples, Finetune, PLAN};

/// Share of a run's work that validation may cost on top of training.
const VALIDATION_COST: f64 = 0.15;

/// A forward pass costs about a third of a training pass.
pub(crate) const FORWARD: f64 = 1.0 / 3.0;

/// What ended up deciding the length of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// All examples were to be seen so often.
    Epochs,
    /// The most steps allowed.
    MaxSteps,
    /// The time allowed.
    TrainMinutes,
}

/// A run's length and rate, fixed before its first step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Optimiser steps.
    pub steps: u64,
    /// What decided them.
    pub limit: Limit,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Training examples in use, from the front of [`Examples::train`].
    pub examples: usize,
    /// Calls that these stand for.
    pub calls: u64,
    /// What is left out because the run is too short to see it once.
    pub over_budget: Unseen,
    /// Validation examples in use, from the front of [`Examples::validation`].
    pub validation: usize,
    /// Steps between looks at them.
    pub validate_every: u64,
    /// Throughput that minutes were turned into steps by, training tokens per second.
    pub tokens_per_second: Option<f64>,
}

impl Finetune {
    /// Plans a run. `tokens_per_second` is the [`crate::throughput`] measured on this machine, needed for `train_minutes`.
    ///
    /// # Errors
    /// When minutes are given without a throughput.
    pub fn plan(&self, examples: &Examples, config: &Config, tokens_per_second: Option<f64>) -> Result<Plan, Error> {
        let whole = Batches::new(examples.train.iter().collect(), self);
        let wanted = whole.steps(self.epochs).max(1);
        let mean = tokens(&examples.train) / whole.per_epoch();
        let runs = 1.0 + added(self.trials(examples));
        let affordable = match (self.train_minutes, tokens_per_second) {
            (None, _) => None,
            (Some(_), None) => {
                let expected = "a measured throughput to turn it into steps";
                return Err(Error::Setting { key: "train_minutes", found: "no throughput".to_owned(), expected });
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of steps, floored")]
            (Some(minutes), Some(rate)) => Some(((minutes * 60.0 * rate / (1.0 + VALIDATION_COST) / mean / runs) as u64).max(1)),
        };
        let limits = [(Some(wanted), Limit::Epochs), (self.max_steps, Limit::MaxSteps), (affordable, Limit::TrainMinutes)];
        let known = limits.into_iter().filter_map(|(steps, limit)| Some((steps?, limit)));
        let (steps, limit) = known.min_by_key(|(steps, _)| *steps).expect("epochs always give a length");
        let used = self.affordable_examples(examples, steps);
        let validate_every = (steps / self.validations_per_run.max(1)).max(1);
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let validation_tokens = mean * validate_every as f64 * VALIDATION_COST / FORWARD;
        Ok(Plan {
            steps,
            limit,
            learning_rate: self.peak(config),
            examples: used,
            calls: calls(&examples.train[..used]),
            over_budget: unseen(&examples.train, used),
            validation: affordable_validation(&examples.validation, validation_tokens),
            validate_every,
            tokens_per_second: tokens_per_second.filter(|_| self.train_minutes.is_some()),
        })
    }

    /// Examples that `steps` see at least once: all, or the beginning that they can hold.
    fn affordable_examples(&self, examples: &Examples, steps: u64) -> usize {
        let room = steps.saturating_mul(self.batch_size as u64);
        let mut answers = 0;
        let fits = |example: &&Example| {
            answers += example.answers as u64;
            answers <= room
        };
        examples.train.iter().take_while(fits).count().max(1)
    }
}

impl Plan {
    /// The plan that the run of this sink began with, if it began.
    ///
    /// # Errors
    /// When the sink fails or holds something else.
    pub fn recorded(sink: &mut dyn CheckpointSink) -> Result<Option<Self>, Error> {
        let Some(bytes) = sink.load(PLAN).map_err(|cause| Error::Sink { name: PLAN.to_owned(), cause })? else { return Ok(None) };
        let broken = |cause: serde_json::Error| Error::Checkpoint { name: PLAN.to_owned(), cause: cause.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(broken)
    }
}

/// What the examples behind the first `used` stand for.
fn unseen(examples: &[Example], used: usize) -> Unseen {
    let (seen, rest) = examples.split_at(used);
    let ids = |examples: &[Example]| examples.iter().map(|example| example.conversation.clone()).collect::<BTreeSet<_>>();
    let conversations = ids(rest).difference(&ids(seen)).count() as u64;
    Unseen { calls: calls(rest), conversations, tokens: rest.iter().map(|example| example.tokens).sum() }
}

#[expect(clippy::cast_precision_loss, reason = "tokens of a log are far below 2^53")]
fn tokens(examples: &[Example]) -> f64 {
    examples.iter().map(|example| example.sequence.tokens.len()).sum::<usize>() as f64
}

/// Validation examples from the front whose tokens cost no more than `room`; sixteen at least.
fn affordable_validation(examples: &[Example], room: f64) -> usize {
    let mut sum = 0.0;
    #[expect(clippy::cast_precision_loss, reason = "tokens of one example")]
    let fits = |example: &&Example| {
        sum += example.sequence.tokens.len() as f64;
        sum <= room
    };
    examples.iter().take_while(fits).count().max(16).min(examples.len())
}
