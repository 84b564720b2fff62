//! The training loop: windows of sequences in, trained parameters and a record of every step out.
//!
//! One loop serves fine-tuning and pre-training. It asks no clock: how many steps a budget buys was decided before.
use record::Progress;
use serde::{Deserialize, Serialize};

use crate::batches::micro_batches;
use crate::clip::{self, Flat};
use crate::optimizer::{AdamW, Constants, flat, require_f32};
use crate::sink::{CHECKPOINT, METRICS};
use crate::{CheckpointSink, Error, Learner, Loss, Schedule, Sequence, checkpoint, guard};

/// What was measured at one step; a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Step, from 1.
    pub step: u64,
    /// Weighted mean loss of the step's sequences before its update, nats per token that carries loss.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm of all gradients of that mean before clipping.
    pub grad_norm: f64,
    /// Tokens that went through the model, prompts included.
    pub tokens: u64,
    /// Loss on the validation part after the update, where it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Share of its answers that greedy generation would then write to the last token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_right: Option<f64>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// All planned steps were taken.
    Finished,
    /// The validation part had not been answered about as well as at best for as long as patience lasts.
    Patience,
}

/// What a run came to. The learner holds the weights that were kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps taken.
    pub steps: u64,
    /// Step whose weights were kept; 0 where the untrained ones were.
    pub best_step: u64,
    /// Mean training loss of the last tenth of the steps (ten at most), nats per token.
    pub train_loss: f64,
    /// Validation loss before the first step.
    pub first_validation_loss: Option<f64>,
    /// Validation loss of the weights kept.
    pub validation_loss: Option<f64>,
    /// Share of the validation answers that they write to the last token.
    pub validation_right: Option<f64>,
    /// Why it ended.
    pub stop: Stop,
    /// Every step.
    pub rows: Vec<Row>,
}

impl Outcome {
    /// The rows as JSON lines.
    #[must_use]
    pub fn metrics(&self) -> String {
        lines(&self.rows)
    }
}

fn lines(rows: &[Row]) -> String {
    rows.iter().map(|row| serde_json::to_string(row).expect("plain data always serialises") + "\n").collect()
}

/// What the loop is told.
pub(crate) struct Recipe {
    /// Whatever must be the same for a checkpoint to be resumed.
    pub identity: String,
    pub steps: u64,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub weight_decay: f64,
    pub beta2: f64,
    pub clip: f64,
    pub micro_tokens: usize,
    pub checkpoint_every: u64,
    pub validate_every: u64,
    /// Looks at the validation part in a row whose weights are not kept before it stops; none keeps the last weights.
    pub patience: Option<u32>,
}

/// What the loop learns from and is checked on.
pub(crate) struct Windows<'a> {
    /// The sequences of a step, a pure function of it.
    pub source: &'a mut dyn FnMut(u64) -> Vec<Sequence>,
    pub validation: &'a [Sequence],
}

/// How the validation part is answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Share of the answers that are right to the last token.
    pub right: f64,
    /// Answers.
    pub answers: u32,
    /// Mean loss, nats per token that carries loss.
    pub loss: f64,
}

impl Mark {
    /// Standard error of a share of the answers, by Agresti and Coull (1998): not zero where all or none are right.
    fn error(self, share: f64) -> f64 {
        let answers = f64::from(self.answers) + 4.0;
        let share = (share * f64::from(self.answers) + 2.0) / answers;
        (share * (1.0 - share) / answers).sqrt()
    }
}

/// The weights that are kept so far.
///
/// What is deployed is judged by its answers, so whole answers count. A few dozen of them do not tell weights apart that are
/// about as good, and the later ones have seen more at a lower rate: the last look within one standard error of the best is
/// kept (Breiman et al. 1984). Where most answers cannot be foreseen to the last token, the lowest loss is.
pub(crate) struct Best {
    pub step: u64,
    pub mark: Mark,
    /// Highest share of right answers of any look.
    pub top: f64,
    pub weights: Flat,
}

impl Best {
    fn yields_to(&self, mark: Mark) -> bool {
        let top = self.top.max(mark.right);
        if top < 0.5 { mark.loss < self.mark.loss } else { mark.right >= top - mark.error(top) }
    }
}

/// Everything that changes from step to step, apart from the learner's parameters.
pub(crate) struct State {
    pub step: u64,
    pub optimizer: AdamW,
    pub best: Option<Best>,
    pub stale: u32,
    pub stopped: bool,
    pub first_validation: Option<f64>,
    pub rows: Vec<Row>,
}

impl State {
    pub(crate) const fn new(optimizer: AdamW) -> Self {
        Self { step: 0, optimizer, best: None, stale: 0, stopped: false, first_validation: None, rows: Vec::new() }
    }
}

/// Runs or resumes a recipe.
#[expect(clippy::needless_pass_by_value, reason = "the windows are made for this one call")]
pub(crate) fn run(
    learner: &dyn Learner,
    windows: Windows<'_>,
    recipe: &Recipe,
    sink: &mut dyn CheckpointSink,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    require_f32(learner.parameters())?;
    let mut state = start(learner, recipe, windows.validation, sink)?;
    progress.begin("train", recipe.steps, "steps");
    progress.advance(state.step);
    while state.step < recipe.steps && !state.stopped {
        let sequences = (windows.source)(state.step + 1);
        let mut row = update(learner, recipe, &mut state, sequences)?;
        let last = row.step == recipe.steps;
        if (row.step.is_multiple_of(recipe.validate_every.max(1)) || last) && !windows.validation.is_empty() {
            validate(learner, recipe, &mut state, &mut row, windows.validation)?;
        }
        progress.note(&note(&row));
        state.rows.push(row);
        guard::bounded(&state.rows, recipe.learning_rate)?;
        if state.step.is_multiple_of(recipe.checkpoint_every.max(1)) || last || state.stopped {
            save(sink, METRICS, lines(&state.rows).as_bytes())?;
            save(sink, CHECKPOINT, &checkpoint::write(&recipe.identity, learner, &state)?)?;
        }
        progress.advance(1);
    }
    progress.end();
    finish(learner, recipe, state)
}

/// The state of the sink's checkpoint, or a new one with the validation loss before any step.
fn start(learner: &dyn Learner, recipe: &Recipe, validation: &[Sequence], sink: &mut dyn CheckpointSink) -> Result<State, Error> {
    #[expect(clippy::cast_possible_truncation, reason = "the optimiser computes in f32")]
    let constants = Constants { beta1: 0.9, beta2: recipe.beta2 as f32, epsilon: 1e-8, weight_decay: recipe.weight_decay as f32 };
    let optimizer = AdamW::new(constants, learner.parameters());
    let saved = sink.load(CHECKPOINT).map_err(|cause| Error::Sink { name: CHECKPOINT.to_owned(), cause })?;
    if let Some(bytes) = saved {
        return checkpoint::read(&bytes, &recipe.identity, learner, optimizer);
    }
    let mut state = State::new(optimizer);
    if !validation.is_empty() {
        let mark = look(learner, recipe, validation)?;
        guard::finite("validation loss", mark.loss, 0, recipe.learning_rate)?;
        state.first_validation = Some(mark.loss);
        state.best =
            recipe.patience.map(|_| weights(learner).map(|weights| Best { step: 0, mark, top: mark.right, weights })).transpose()?;
    }
    Ok(state)
}

/// One step: gradients of the whole window, clipped, one update.
fn update(learner: &dyn Learner, recipe: &Recipe, state: &mut State, sequences: Vec<Sequence>) -> Result<Row, Error> {
    let step = state.step + 1;
    let lr = recipe.learning_rate * recipe.schedule.factor(step);
    let tokens = sequences.iter().map(|sequence| sequence.tokens.len() as u64).sum();
    let (loss, gradients) = window(learner, sequences, recipe.micro_tokens)?;
    if loss.weight <= 0.0 {
        return Err(Error::EmptyStep { step });
    }
    let mean = loss.sum / loss.weight;
    guard::finite("loss", mean, step, lr)?;
    let norms = clip::norms(&gradients);
    guard::gradients_flow(learner.parameters(), &norms, step)?;
    let grad_norm = clip::global(&norms) / loss.weight;
    guard::finite("gradient norm", grad_norm, step, lr)?;
    let scale = clip::factor(grad_norm, recipe.clip) / loss.weight;
    state.optimizer.step(learner.parameters(), &gradients, scale, lr)?;
    state.step = step;
    Ok(Row { step, loss: mean, lr, grad_norm, tokens, validation_loss: None, validation_right: None })
}

/// Loss and gradients of all sequences of a step, summed over micro-batches.
pub(crate) fn window(learner: &dyn Learner, sequences: Vec<Sequence>, micro_tokens: usize) -> Result<(Loss, Flat), Error> {
    let mut total = Loss::default();
    let mut gradients = Flat::new();
    for batch in micro_batches(sequences, micro_tokens) {
        let (loss, new) = learner.loss_and_gradients(&batch)?;
        total += loss;
        for (name, gradient) in new {
            let values = flat(&gradient)?;
            match gradients.get_mut(&name) {
                None => {
                    gradients.insert(name, values);
                }
                Some(sum) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
            }
        }
    }
    Ok((total, gradients))
}

/// Loss of sequences, summed over micro-batches.
pub(crate) fn loss(learner: &dyn Learner, sequences: Vec<Sequence>, micro_tokens: usize) -> Result<Loss, Error> {
    let mut total = Loss::default();
    for batch in micro_batches(sequences, micro_tokens) {
        total += learner.loss(&batch)?;
    }
    Ok(total)
}

/// How sequences are answered.
fn look(learner: &dyn Learner, recipe: &Recipe, sequences: &[Sequence]) -> Result<Mark, Error> {
    let total = loss(learner, sequences.to_vec(), recipe.micro_tokens)?;
    let right = if total.answers > 0.0 { total.right / total.answers } else { 0.0 };
    let begins = |sequence: &Sequence| sequence.targets.split(Option::is_none).filter(|answer| !answer.is_empty()).count();
    let answers = sequences.iter().map(begins).sum::<usize>();
    Ok(Mark { right, answers: u32::try_from(answers).unwrap_or(u32::MAX), loss: total.sum / total.weight })
}

/// Looks at the validation part; keeps the weights if they are the best, else loses patience.
fn validate(learner: &dyn Learner, recipe: &Recipe, state: &mut State, row: &mut Row, validation: &[Sequence]) -> Result<(), Error> {
    let mark = look(learner, recipe, validation)?;
    guard::finite("validation loss", mark.loss, row.step, row.lr)?;
    (row.validation_loss, row.validation_right) = (Some(mark.loss), Some(mark.right));
    let Some(patience) = recipe.patience else { return Ok(()) };
    let top = state.best.as_ref().map_or(mark.right, |best| best.top.max(mark.right));
    if state.best.as_ref().is_none_or(|best| best.yields_to(mark)) {
        state.best = Some(Best { step: row.step, mark, top, weights: weights(learner)? });
        state.stale = 0;
    } else {
        state.best.iter_mut().for_each(|best| best.top = top);
        state.stale += 1;
        state.stopped = state.stale >= patience;
    }
    Ok(())
}

/// A copy of the learner's parameters.
pub(crate) fn weights(learner: &dyn Learner) -> Result<Flat, Error> {
    learner.parameters().iter().map(|(name, var)| Ok((name.clone(), flat(var)?))).collect()
}

/// Puts a copy back, bit by bit.
pub(crate) fn restore(learner: &dyn Learner, weights: &Flat) -> Result<(), Error> {
    for (name, var) in learner.parameters() {
        var.set(&candle_core::Tensor::from_slice(&weights[name], var.shape(), var.device())?)?;
    }
    Ok(())
}

fn note(row: &Row) -> String {
    match row.validation_loss {
        Some(validation) => format!("loss {:.3}, validation {validation:.3}", row.loss),
        None => format!("loss {:.3}", row.loss),
    }
}

fn save(sink: &mut dyn CheckpointSink, name: &str, bytes: &[u8]) -> Result<(), Error> {
    sink.save(name, bytes).map_err(|cause| Error::Sink { name: name.to_owned(), cause })
}

/// Puts the kept weights back into the learner and sums the run up.
fn finish(learner: &dyn Learner, recipe: &Recipe, state: State) -> Result<Outcome, Error> {
    let last = state.rows.iter().rev().find_map(|row| Some((row.validation_loss?, row.validation_right?)));
    let (best_step, mark) = match &state.best {
        None => (state.step, last),
        Some(best) => {
            restore(learner, &best.weights)?;
            (best.step, Some((best.mark.loss, best.mark.right)))
        }
    };
    let tail = &state.rows[state.rows.len().saturating_sub((state.rows.len() / 10).clamp(1, 10))..];
    #[expect(clippy::cast_precision_loss, reason = "ten rows at most")]
    let train_loss = tail.iter().map(|row| row.loss).sum::<f64>() / tail.len().max(1) as f64;
    let stop = if state.step < recipe.steps { Stop::Patience } else { Stop::Finished };
    let first_validation_loss = state.first_validation;
    Ok(Outcome {
        steps: state.step,
        best_step,
        train_loss,
        first_validation_loss,
        validation_loss: mark.map(|(loss, _)| loss),
        validation_right: mark.map(|(_, right)| right),
        stop,
        rows: state.rows,
    })
}

#[cfg(test)]
mod tests {
    use super::{Best, Flat, Mark};

    #[test]
    fn the_last_look_about_as_good_as_the_best_is_kept() {
        let mark = |right: f64, loss: f64| Mark { right: right / 30.0, answers: 30, loss };
        let best = |right: f64, loss: f64, top: f64| Best { step: 1, mark: mark(right, loss), top: top / 30.0, weights: Flat::new() };
        assert!(best(30.0, 0.1, 30.0).yields_to(mark(29.0, 0.5)), "one answer fewer is noise");
        assert!(!best(30.0, 0.1, 30.0).yields_to(mark(28.0, 0.1)), "two are not");
        assert!(!best(27.0, 0.1, 30.0).yields_to(mark(27.0, 0.1)), "the best ever counts, not the one that is kept");
        assert!(best(10.0, 0.5, 10.0).yields_to(mark(9.0, 0.4)) && !best(10.0, 0.5, 10.0).yields_to(mark(12.0, 0.6)), "here loss decides");
    }
}
