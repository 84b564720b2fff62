//! Whether a model that was written is the one in memory: both read the same prompts, and what they expect next is compared.
//!
//! Knows decoders and token ids, neither files nor formats.
use model::{Decoder, Limits};
use record::Silent;
use serde::Serialize;

use crate::Error;

/// Tokens of a prompt, counted from its end, after which expectations are compared, besides those of the answer.
const TAIL: usize = 64;
/// Tokens that an answer may have.
const ANSWER: usize = 64;

/// Mean divergence that rounding weights to 16 bits may cause, in nats a token.
///
/// A rounded weight is off by 2^-12 of itself on average, independently of the others, so each of the 7 L products of L layers is off by as much
/// relative to its size, and logits of some 10 nats spread by 10 · 2^-12 · √(7 L): 0.04 for 40 layers. A divergence is half the
/// variance of that, 8e-4; the bound leaves room for models whose activations are a few times as lively.
const HALF: f64 = 0.01;

/// What a way of writing may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Nothing: every logit has the same bits.
    Exact,
    /// Weights were rounded to floats of 16 bits.
    Rounded,
    /// Weights were quantised: anything that is better than knowing nothing of the prompt is reported and not judged.
    Quantised,
}

/// How two models agree on what comes next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Prompts that both answered.
    pub prompts: usize,
    /// Prompts that both gave the same answer, to the last token.
    pub same_answers: usize,
    /// Places where the next token was compared: the ends of the prompts, and the answers of the model in memory.
    pub places: usize,
    /// Share of places where both expect the same token most.
    pub same_next_token: f64,
    /// Mean divergence of the written model from the one in memory, in nats a token.
    pub divergence: f64,
    /// The same of a model that always expects what the model in memory expects on average: that knows nothing of the prompt.
    pub divergence_by_chance: f64,
    /// Greatest difference of two logits.
    pub worst_logit: f32,
}

impl Agreement {
    /// Compares the model in `memory` with what was read back.
    ///
    /// # Errors
    /// When a prompt is empty or holds a token that is not in the vocabulary.
    pub fn measure(memory: &Decoder, written: &Decoder, prompts: &[Vec<u32>], ends: &[u32]) -> Result<Self, Error> {
        let limits = Limits { max_new_tokens: ANSWER, batch: 8, ends };
        let (first, second) = (memory.generate(prompts, limits, &Silent)?, written.generate(prompts, limits, &Silent)?);
        let mut sums = Sums { mean: vec![0.0; memory.config().vocab_size], ..Sums::default() };
        for (prompt, answer) in prompts.iter().zip(&first) {
            let tokens: Vec<u32> = prompt.iter().chain(&answer.tokens).copied().collect();
            let from = prompt.len().saturating_sub(TAIL);
            let (ours, theirs) = (memory.logits_from(from, &tokens)?, written.logits_from(from, &tokens)?);
            let width = memory.config().vocab_size;
            ours.chunks_exact(width).zip(theirs.chunks_exact(width)).for_each(|(ours, theirs)| sums.add(ours, theirs));
        }
        let same_answers = first.iter().zip(&second).filter(|(a, b)| a.tokens == b.tokens && a.ended == b.ended).count();
        Ok(sums.finish(prompts.len(), same_answers))
    }

    /// Refuses a model that lost more than its way of writing may lose.
    ///
    /// # Errors
    /// When it did; the error says by how much.
    pub fn accept(&self, tolerance: Tolerance) -> Result<(), Error> {
        let refuse = |cause: String| Err(Error::Broken { cause });
        let Self { places, divergence, divergence_by_chance, worst_logit, same_answers, prompts, .. } = self;
        if *places == 0 {
            return refuse("there is no prompt to compare it on".to_owned());
        }
        if !divergence.is_finite() {
            return refuse("it computes numbers that are not finite".to_owned());
        }
        match tolerance {
            Tolerance::Exact if *worst_logit > 0.0 || same_answers < prompts => {
                refuse(format!("its logits should have the same bits and differ by {worst_logit:e}"))
            }
            Tolerance::Rounded if *divergence > HALF => {
                refuse(format!("it diverges by {divergence:.4} nats a token, rounding explains {HALF}"))
            }
            Tolerance::Quantised if *divergence > divergence_by_chance.max(HALF) => refuse(format!(
                "it diverges by {divergence:.3} nats a token, a model that knows nothing of the prompt by {divergence_by_chance:.3}"
            )),
            _ => Ok(()),
        }
    }
}

/// Sums over the places.
#[derive(Default)]
struct Sums {
    places: usize,
    same: usize,
    divergence: f64,
    entropy: f64,
    /// Sum of the probabilities of each token in memory.
    mean: Vec<f64>,
    worst: f32,
}

impl Sums {
    fn add(&mut self, ours: &[f32], theirs: &[f32]) {
        let (p, q) = (log_probabilities(ours), log_probabilities(theirs));
        for ((p, q), mean) in p.iter().zip(&q).zip(&mut self.mean) {
            let probability = p.exp();
            self.divergence += probability * (p - q);
            self.entropy -= if probability > 0.0 { probability * p } else { 0.0 };
            *mean += probability;
        }
        self.places += 1;
        self.same += usize::from(best(ours) == best(theirs));
        // `max` drops what is no number; the divergence keeps it
        self.worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(self.worst, f32::max);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of places")]
    fn finish(self, prompts: usize, same_answers: usize) -> Agreement {
        let places = self.places.max(1) as f64;
        let mixed: f64 = self.mean.iter().map(|sum| sum / places).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        Agreement {
            prompts,
            same_answers,
            places: self.places,
            same_next_token: self.same as f64 / places,
            divergence: self.divergence / places,
            divergence_by_chance: mixed - self.entropy / places,
            worst_logit: self.worst,
        }
    }
}

/// Logarithms of the probabilities, in f64.
fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = || logits.iter().map(|logit| f64::from(*logit) - f64::from(most));
    let sum = shifted().map(f64::exp).sum::<f64>().ln();
    shifted().map(|logit| logit - sum).collect()
}

/// The place of the greatest logit, the first of equals.
fn best(logits: &[f32]) -> usize {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::{Sums, Tolerance};

    fn agreement(pairs: &[([f32; 3], [f32; 3])]) -> super::Agreement {
        let mut sums = Sums { mean: vec![0.0; 3], ..Sums::default() };
        pairs.iter().for_each(|(ours, theirs)| sums.add(ours, theirs));
        sums.finish(1, 1)
    }

    #[test]
    fn divergence_is_the_written_out_one() {
        let ln2 = std::f32::consts::LN_2;
        // (1/2, 1/4, 1/4) against thirds: ln 3 less the entropy, 3/2 ln 2
        let one = agreement(&[([ln2, 0.0, 0.0], [0.0; 3])]);
        assert!((one.divergence - (3_f64.ln() - 1.5 * 2_f64.ln())).abs() < 1e-6, "{one:?}");
        assert!(one.divergence_by_chance.abs() < 1e-9, "one place is its own average");
        assert!((one.worst_logit - ln2).abs() < 1e-6 && one.same_next_token > 0.99);
    }

    #[test]
    fn each_way_of_writing_has_its_bound() {
        let equal = agreement(&[([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), ([3.0, 0.0, 0.0], [3.0, 0.0, 0.0])]);
        assert!(equal.accept(Tolerance::Exact).is_ok());
        let near = agreement(&[([1.0, 2.0, 3.0], [1.0, 2.0, 3.01]), ([9.0, 0.0, 0.0], [9.0, 0.0, 0.0])]);
        assert!(near.accept(Tolerance::Exact).is_err() && near.accept(Tolerance::Rounded).is_ok());
        let far = agreement(&[([5.0, 0.0, 0.0], [4.0, 0.5, 0.0]), ([0.0, 0.0, 5.0], [0.0, 0.9, 4.0])]);
        assert!(far.accept(Tolerance::Rounded).is_err() && far.accept(Tolerance::Quantised).is_ok());
        let garbled = agreement(&[([9.0, 0.0, 0.0], [0.0, 0.0, 9.0]), ([0.0, 0.0, 9.0], [9.0, 0.0, 0.0])]);
        let text = garbled.accept(Tolerance::Quantised).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("knows nothing of the prompt"), "{text}");
        let broken = agreement(&[([1.0, 2.0, 3.0], [f32::NAN, 0.0, 0.0]), ([0.0; 3], [0.0; 3])]);
        assert!([Tolerance::Exact, Tolerance::Rounded, Tolerance::Quantised].iter().all(|one| broken.accept(*one).is_err()));
    }
}
