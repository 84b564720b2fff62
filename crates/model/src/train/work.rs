//! What a step costs at least, and what the machine can do: the two sides of "how fast is this".
//! Knows shapes and one product, nothing of how a step is computed.
use std::time::Duration;

use rayon::prelude::*;

use super::layout::{Limits, plan};
use super::matmul::Old;
use super::panels::Panels;
use super::parameters::{Fused, Widths};
use super::{Engine, Precision, Sequence, TrainModel, Trainable};

/// What the loss and gradients of a batch cost at least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Rows: tokens, a common beginning counted once where the model shares it, though it may compute some again for the sake of
    /// its threads.
    pub rows: u64,
    /// Floating-point operations of the products: 2 for each weight and row forward, 2 back for the rows and 2 for the weight
    /// where it learns; 12 · width for each pair of a query and a key that it sees; the last layer but for keys and values, and the head, on the
    /// rows with a loss alone.
    pub flops: f64,
}

/// Pairs of a query and a key of so many rows behind so many others, of which each sees the last `window`.
fn pairs_of(before: usize, rows: usize, window: usize) -> usize {
    // the rows that see all keys up to their own come first
    let whole = window.saturating_sub(before).min(rows);
    whole * before + whole * (whole + 1) / 2 + (rows - whole) * window.min(before + rows)
}

impl TrainModel {
    /// What [`TrainModel::loss_and_gradients`] of a batch costs at least.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn work(&self, batch: &[Sequence]) -> Work {
        let packs = plan(batch, Limits { shards: 1, rows: usize::MAX, share: self.shares && !matches!(self.engine, Engine::Tensors(_)) });
        let (mut rows, mut asked, mut pairs, mut scored) = (0, 0, 0, 0);
        let windows: Vec<usize> = self.config.layers.iter().map(|look| look.window.unwrap_or(usize::MAX)).collect();
        let Some((last, windows)) = windows.split_last() else { return Work::default() };
        for pack in packs.iter().flatten() {
            rows += pack.tokens.len();
            scored += pack.scored.len();
            let rows_asked = pack.asked();
            asked += rows_asked.len();
            pairs += rows_asked.iter().map(|row| (pack.positions[*row] + 1).min(*last)).sum::<usize>();
            for segment in &pack.segments {
                let before: usize = segment.before.iter().map(|span| span.len).sum();
                pairs += windows.iter().map(|window| pairs_of(before, segment.own.len, *window)).sum::<usize>();
            }
        }
        let (config, widths) = (&self.config, Widths::of(&self.config));
        let of_weight = if self.trainable == Trainable::Full { 6 } else { 4 };
        // of a row in a layer: for keys and values, and for all else
        let (mut of_keys, mut of_rest) = (0, 0);
        for fused in [Fused::Qkv, Fused::Out, Fused::GateUp, Fused::Down] {
            let (inputs, (outputs, parts)) = (widths.inputs(fused), widths.outputs(fused));
            for (part, outputs) in outputs[..parts].iter().enumerate() {
                let sum = if fused == Fused::Qkv && part > 0 { &mut of_keys } else { &mut of_rest };
                *sum += outputs * inputs * of_weight + self.adapter().0 * (outputs + inputs) * 6;
            }
        }
        let of_scored = config.vocab_size * config.hidden_size * of_weight;
        let of_pair = 12 * widths.queries;
        let layers = rows as f64 * (of_keys * (windows.len() + 1) + of_rest * windows.len()) as f64 + asked as f64 * of_rest as f64;
        let flops = layers + scored as f64 * of_scored as f64 + pairs as f64 * of_pair as f64;
        Work { rows: rows as u64, flops }
    }

    /// What the CPU reaches in the largest product of this model's layers, each thread at its own, at the best of several tries;
    /// `time` times one try.
    #[must_use]
    pub fn peak(&self, time: impl Fn(&mut dyn FnMut()) -> Duration) -> Peak {
        let widths = Widths::of(&self.config);
        let (inputs, outputs) = (widths.hidden, 2 * widths.inner);
        let matrix = vec![1.0_f32; outputs * inputs];
        let vectors = rate(&Panels::None, (&matrix, inputs), self.precision, &time);
        let layer = if let Engine::F32(frozen, _) = &self.engine { frozen.layers.first() } else { None };
        let largest = layer.map_or(vectors, |layer| rate(&layer.gate_up.panels, (&matrix, inputs), self.precision, &time));
        Peak { vectors, largest }
    }
}

/// Floating-point operations a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Peak {
    /// Of f32 vectors.
    pub vectors: f64,
    /// Of the product as a step computes it: more, where a matrix unit does it.
    pub largest: f64,
}

/// Operations a second of a product with `matrix` of (outputs, inputs).
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn rate(panels: &Panels<f32>, (matrix, inputs): (&[f32], usize), precision: Precision, time: impl Fn(&mut dyn FnMut()) -> Duration) -> f64 {
    const ROWS: usize = 512;
    const TRIES: usize = 20;
    let (threads, outputs) = (rayon::current_num_threads(), matrix.len() / inputs);
    let x = vec![1.0; ROWS * inputs];
    let mut out = vec![vec![0.0; ROWS * outputs]; threads];
    let mut once = || out.par_iter_mut().for_each(|out| panels.multiply((matrix, inputs), &x, out, Old::Drop, 1.0, precision));
    let best = (0..TRIES).map(|_| time(&mut once)).min().unwrap_or_default();
    (2 * threads * ROWS * inputs * outputs) as f64 / best.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::pairs_of;

    #[test]
    fn pairs_are_counted_one_by_one() {
        for (before, rows, window) in [(0, 5, usize::MAX), (3, 4, usize::MAX), (3, 4, 5), (3, 4, 2), (0, 9, 4), (7, 2, 8), (7, 2, 9)] {
            let right: usize = (0..rows).map(|row| (before + row + 1).min(window)).sum();
            assert_eq!(pairs_of(before, rows, window), right, "{before}, {rows}, {window}");
        }
    }
}
