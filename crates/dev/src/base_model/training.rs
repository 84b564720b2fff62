//! The run: steps of the corpus through `finetune`'s loop, looked at and saved between stretches.
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use finetune::{Pretrain, Row, Schedule, pretrain};
use model::train::{Sequence, TrainModel};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::corpus::{Corpus, sequence};
use super::family::FAMILIES;
use super::folder::Folder;
use super::{planted, shape};

/// What decides a run, apart from the corpus.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Seed of corpus and first weights.
    pub seed: u64,
    /// Documents that the tokenizer is learned from.
    pub documents: usize,
    /// Tokens of a step.
    pub batch: usize,
    /// Steps of the run.
    pub steps: u64,
    /// Step from which the learning rate falls.
    pub decay_from: u64,
    /// Peak learning rate.
    pub rate: f64,
    /// Layers of the model.
    pub layers: usize,
    /// Steps of warm-up of the learning rate.
    pub warmup: u64,
    /// Steps over which the mix of families moves from its start to its end.
    pub ramp: u64,
}

/// Stream of the held-out documents; no training step has it.
const HELD: u64 = 1 << 42;

impl Recipe {
    /// The recipe of the model in `fixtures/nano`.
    pub const NANO: Self = Self {
        seed: 20_260_214,
        documents: 20_000,
        batch: 4096,
        steps: 9000,
        decay_from: 7000,
        rate: 3e-3,
        layers: 5,
        warmup: 80,
        ramp: 400,
    };

    /// The same at the size of a test.
    pub const SMOKE: Self = Self { documents: 400, batch: 768, steps: 40, decay_from: 32, layers: 3, warmup: 5, ramp: 20, ..Self::NANO };

    /// `config.json` of the model.
    pub fn config(&self) -> Value {
        shape::config(self.layers)
    }

    /// The untrained model.
    pub fn model(&self) -> Result<TrainModel> {
        let config = model::Config::from_json(self.config().to_string().as_bytes(), "config.json")?;
        let model = TrainModel::random(&config, self.seed, DType::F32, &Device::Cpu)?;
        planted::plant(&model)?;
        Ok(model)
    }

    /// Trains up to `until`, from the folder's checkpoint if there is one. Every step's row comes back.
    pub fn train(&self, until: u64, model: &TrainModel, corpus: &Corpus, tokenizer: &Tokenizer, folder: &mut Folder) -> Result<Vec<Row>> {
        let settings = Pretrain {
            learning_rate: self.rate,
            schedule: Schedule::WarmupStableDecay { warmup: self.warmup, decay_from: self.decay_from, steps: self.steps },
            checkpoint_every: u64::MAX,
            ..Pretrain::new(until)
        };
        let mut failed = None;
        let mut source = |step: u64| match corpus.batch(tokenizer, step, self.batch, self.mix(step)) {
            Ok(batch) => batch,
            Err(error) => {
                failed = Some(error);
                Vec::new()
            }
        };
        let outcome = pretrain(model, &mut source, &[], &settings, folder, &record::Silent);
        match failed {
            Some(error) => Err(error).context("the corpus failed"),
            None => Ok(outcome?.rows),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "steps are few")]
    fn mix(&self, step: u64) -> f64 {
        (step as f64 / self.ramp.max(1) as f64).min(1.0)
    }
}

/// Mean loss per answer token of each family on `each` held-out documents, in nats.
pub fn held_out(model: &TrainModel, corpus: &Corpus, tokenizer: &Tokenizer, each: usize) -> Result<Vec<(&'static str, f64)>> {
    let samples = corpus.stream(HELD, each * 30, 1.0);
    let mut losses = Vec::new();
    for family in &FAMILIES {
        let of = samples.iter().filter(|sample| sample.family == family.name).take(each);
        let batch = of.map(|sample| sequence(tokenizer, &sample.document, false)).collect::<Result<Vec<Sequence>>>()?;
        let loss = model.loss(&batch)?;
        losses.push((family.name, loss.sum / loss.weight));
    }
    Ok(losses)
}

/// Tells how a run goes.
pub struct Pace {
    since: Instant,
    tokens: u64,
}

impl Pace {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { since: Instant::now(), tokens: 0 }
    }

    /// One line on the steps from `first` on.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn line(&mut self, rows: &[Row], first: u64) -> String {
        let new: Vec<_> = rows.iter().filter(|row| row.step >= first).collect();
        self.tokens += new.iter().map(|row| row.tokens).sum::<u64>();
        let loss = new.iter().map(|row| row.loss).sum::<f64>() / new.len().max(1) as f64;
        let (step, lr, norm) = new.last().map_or((0, 0.0, 0.0), |row| (row.step, row.lr, row.grad_norm));
        let seen = rows.iter().map(|row| row.tokens).sum::<u64>() as f64 / 1e6;
        let rate = self.tokens as f64 / self.since.elapsed().as_secs_f64();
        format!("step {step} tokens {seen:.2} M loss {loss:.3} lr {lr:.2e} norm {norm:.2} {rate:.0} tokens/s")
    }
}

/// The loss curve as CSV: means over ten steps.
#[expect(clippy::cast_precision_loss, reason = "ten rows")]
pub fn curve(rows: &[Row]) -> String {
    let (mut text, mut tokens) = ("step,tokens,loss,learning_rate\n".to_owned(), 0);
    for ten in rows.chunks(10) {
        tokens += ten.iter().map(|row| row.tokens).sum::<u64>();
        let loss = ten.iter().map(|row| row.loss).sum::<f64>() / ten.len() as f64;
        if let Some(row) = ten.last() {
            text += &format!("{},{tokens},{loss:.4},{:.6}\n", row.step, row.lr);
        }
    }
    text
}
