//! Which sequences a step sees, and how they go through the model. Pure functions of seed and step.
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Sequence;
use crate::examples::Example;

/// Batches of a run over examples, epoch after epoch. A batch never crosses an epoch, and those of one epoch hold
/// about equally many answers.
pub(crate) struct Batches<'a> {
    examples: Vec<&'a Example>,
    batch_size: usize,
    seed: Option<u64>,
    /// The epoch at hand: its number, its first step, its batches as places in `examples`.
    epoch: (u64, u64, Vec<Vec<usize>>),
}

impl<'a> Batches<'a> {
    /// Batches of `batch_size` answers; shuffled by `seed`, or in the order of the log without one.
    pub(crate) fn new(mut examples: Vec<&'a Example>, batch_size: usize, seed: Option<u64>) -> Self {
        if seed.is_none() {
            examples.sort_by_key(|example| example.position);
        }
        let mut batches = Self { examples, batch_size, seed, epoch: (0, 1, Vec::new()) };
        batches.epoch.2 = batches.cut(0);
        batches
    }

    /// Batches of one epoch.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn per_epoch(&self) -> f64 {
        self.cut(0).len() as f64
    }

    /// Steps of so many epochs, the last perhaps in part.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below 2^53")]
    pub(crate) fn steps(&self, epochs: f64) -> u64 {
        let whole = epochs.floor();
        let steps: usize = (0..whole as u64).map(|epoch| self.cut(epoch).len()).sum();
        steps as u64 + ((epochs - whole) * self.cut(whole as u64).len() as f64).ceil() as u64
    }

    /// The sequences of a step, from 1.
    pub(crate) fn step(&mut self, step: u64) -> Vec<Sequence> {
        if step < self.epoch.1 {
            self.epoch = (0, 1, self.cut(0));
        }
        while step >= self.epoch.1 + self.epoch.2.len() as u64 {
            let (number, first) = (self.epoch.0 + 1, self.epoch.1 + self.epoch.2.len() as u64);
            self.epoch = (number, first, self.cut(number));
        }
        let place = usize::try_from(step - self.epoch.1).expect("a place within an epoch in memory");
        self.epoch.2[place].iter().map(|example| self.examples[*example].sequence.clone()).collect()
    }

    /// Places of an epoch's examples in its order, cut into batches.
    fn cut(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut places: Vec<usize> = (0..self.examples.len()).collect();
        if let Some(seed) = self.seed {
            let mut source = ChaCha8Rng::seed_from_u64(seed);
            source.set_stream(epoch);
            places.shuffle(&mut source);
        }
        let total: usize = self.examples.iter().map(|example| example.answers).sum();
        // in the order of the log batches are exactly as large as asked for, with a rest at the end
        let count = if self.seed.is_some() { (total + self.batch_size / 2) / self.batch_size } else { total.div_ceil(self.batch_size) };
        let share = if self.seed.is_some() { total.div_ceil(count.max(1)) } else { self.batch_size };
        let mut batches = Vec::new();
        let mut batch = Vec::new();
        let mut answers = 0;
        for place in places {
            batch.push(place);
            answers += self.examples[place].answers;
            if answers >= share {
                batches.push(std::mem::take(&mut batch));
                answers = 0;
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches
    }
}

/// Cuts a step's sequences into micro-batches of at most `micro_tokens` tokens (one sequence at least).
///
/// Neighbours share as long a prefix as can be, since a prefix shared within a micro-batch may be computed once;
/// the loss is summed over all of them, so the cut changes no result but rounding.
pub(crate) fn micro_batches(mut sequences: Vec<Sequence>, micro_tokens: usize) -> Vec<Vec<Sequence>> {
    sequences.sort_by(|one, other| one.tokens.cmp(&other.tokens));
    let total: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
    let parts = total.div_ceil(micro_tokens.max(1)).max(1);
    // even parts rather than full ones and a rest
    let share = total.div_ceil(parts);
    let mut batches: Vec<Vec<Sequence>> = Vec::new();
    let mut filled = usize::MAX;
    for sequence in sequences {
        let length = sequence.tokens.len();
        if filled >= share || filled + length > micro_tokens {
            batches.push(Vec::new());
            filled = 0;
        }
        filled += length;
        batches.last_mut().expect("one was just pushed if there was none").push(sequence);
    }
    batches
}
