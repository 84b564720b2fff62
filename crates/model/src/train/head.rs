//! Output head and cross-entropy together, over the rows with a loss alone and a few rows at a time: the logits of a
//! whole batch never exist. The idea of Wijmans et al. 2024, arXiv 2411.09009. Knows rows and targets, no layers.
use rayon::prelude::*;

use super::float::{Float, exponentiate, greatest};
use super::layout::{Scored, loss};
use super::matmul::{Mat, MatMut, Old, multiply};
use super::panels::Panels;
use super::vector::vectorised;
use super::{Loss, Precision};

/// Elements of the logits that exist at once on a thread.
pub(super) const LOGITS: usize = 1 << 22;

/// Where the head's gradients go.
pub(super) struct HeadGradient<'a, F> {
    /// Overwritten: gradient of the rows.
    pub rows: &'a mut [F],
    /// Added to: gradient of the matrix; empty where it is frozen.
    pub matrix: &'a mut [F],
}

/// The output matrix, vocabulary × hidden.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, F> {
    /// As it is.
    pub matrix: &'a [F],
    /// Laid out, where it is.
    pub panels: &'a Panels<F>,
    /// Width of a row.
    pub hidden: usize,
    /// Of the products, where it is frozen.
    pub precision: Precision,
}

/// Loss of `rows` (one for each of `scored`) under a head. `wide` takes chunks of rows side by
/// side, unless the matrix learns too.
pub(super) fn cross_entropy<F: Float>(
    rows: &[F],
    head: Head<'_, F>,
    scored: &[Scored],
    gradient: Option<HeadGradient<'_, F>>,
    wide: bool,
) -> Loss {
    let Head { matrix, panels, hidden, precision } = head;
    let vocabulary = matrix.len() / hidden;
    let step = (LOGITS / vocabulary).clamp(16, 128);
    let chunk = |logits: &mut Vec<F>, scored: &[Scored], rows: &[F], drows: Option<&mut [F]>| {
        logits.resize(scored.len() * vocabulary, F::ZERO);
        panels.multiply((matrix, hidden), rows, logits, Old::Drop, F::ONE, precision);
        let part = slopes(logits, scored, drows.is_some());
        if let Some(drows) = drows {
            panels.multiply_back((matrix, hidden), logits, drows, F::ONE, precision);
        }
        part
    };
    let (drows, dmatrix): (Vec<Option<&mut [F]>>, &mut [F]) = match gradient {
        Some(HeadGradient { rows, matrix }) => (rows.chunks_mut(step * hidden).map(Some).collect(), matrix),
        None => (scored.chunks(step).map(|_| None).collect(), &mut []),
    };
    let chunks: Vec<_> = scored.chunks(step).zip(rows.chunks(step * hidden)).zip(drows).collect();
    let parts: Vec<(f64, Vec<bool>)> = if wide && dmatrix.is_empty() {
        let chunks = chunks.into_par_iter();
        chunks.map_init(Vec::new, |logits, ((scored, rows), drows)| chunk(logits, scored, rows, drows)).collect()
    } else {
        let mut logits = Vec::new();
        let chunks = chunks.into_iter().map(|((scored, rows), drows)| {
            let part = chunk(&mut logits, scored, rows, drows);
            if !dmatrix.is_empty() {
                let (slopes, rows) = (Mat::new(&logits, scored.len(), vocabulary), Mat::new(rows, scored.len(), hidden));
                multiply(MatMut::new(dmatrix, vocabulary, hidden), Old::Add, F::ONE, slopes.t(), rows);
            }
            part
        });
        chunks.collect()
    };
    let hits: Vec<bool> = parts.iter().flat_map(|(_, hits)| hits.iter().copied()).collect();
    loss(scored, parts.iter().map(|(sum, _)| sum).sum(), &hits)
}

vectorised! {
    /// Σ weight · nll of rows of logits, which become their gradients: weight · (softmax - one at the target, or what is said there
    /// of a soft target); and of each row whether its target has the highest logit.
    fn slopes(logits: &mut [F], scored: &[Scored], back: bool) -> (f64, Vec<bool>) {
        let vocabulary = logits.len() / scored.len();
        let (mut sum, mut hits) = (0.0, Vec::with_capacity(scored.len()));
        for (row, scored) in logits.chunks_exact_mut(vocabulary).zip(scored) {
            let target = scored.target as usize;
            let (top, right) = (greatest(row), row[target]);
            hits.push(right >= top);
            if let Some(soft) = &scored.soft {
                let weight = f64::from(scored.weight);
                sum += weight * soft.slopes(row, top, weight, back);
                continue;
            }
            let total = exponentiate(row, top);
            sum += f64::from(scored.weight) * (total.to_f64().ln() + (top - right).to_f64());
            if back {
                let weight = F::from_f64(f64::from(scored.weight));
                let factor = weight / total;
                row.iter_mut().for_each(|x| *x *= factor);
                row[target] -= weight;
            }
        }
        (sum, hits)
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, HeadGradient, Panels, Precision, Scored, cross_entropy};
    use crate::train::Soft;
    use crate::train::differences::{agree, wave};

    #[test]
    fn loss_agrees_with_finite_differences_over_chunks() {
        for wide in [false, true] {
            check(wide);
        }
    }

    fn check(wide: bool) {
        let (hidden, vocabulary, count) = (2, 7, 130);
        let (rows, matrix) = (wave(count * hidden, 1), wave(vocabulary * hidden, 2));
        let scored: Vec<_> = (0..count)
            .map(|row| {
                // every third row knows two tokens of seven, and leaves an eighth to the others
                let other = (row * 5 + 1) % vocabulary;
                let soft = (row % 3 == 0).then(|| Soft::new([(row as u32 % 7, 0.5), (other as u32, 0.375)]).expect("good probabilities"));
                Scored { row, target: (row * 3 % vocabulary) as u32, weight: 0.5 * (row % 4) as f32, first: row % 5 == 0, soft }
            })
            .collect();
        let none = Panels::default();
        let loss = |rows: &[f64], matrix: &[f64]| {
            let head = Head { matrix, panels: &none, hidden, precision: Precision::F32 };
            cross_entropy(rows, head, &scored, None, wide).sum
        };
        let head = Head { matrix: &matrix, panels: &none, hidden, precision: Precision::F32 };
        let (mut drows, mut dmatrix) = (vec![9.0; rows.len()], vec![0.0; matrix.len()]);
        let slots = HeadGradient { rows: &mut drows, matrix: &mut dmatrix };
        let sum = cross_entropy(&rows, head, &scored, Some(slots), wide).sum;
        assert_eq!(sum, loss(&rows, &matrix));
        let mut alone = vec![9.0; rows.len()];
        cross_entropy(&rows, head, &scored, Some(HeadGradient { rows: &mut alone, matrix: &mut [] }), wide);
        assert_eq!(alone, drows, "a frozen matrix changes nothing for the rows");
        agree(&rows, &drows, &[1.0], |rows| vec![loss(rows, &matrix)]);
        agree(&matrix, &dmatrix, &[1.0], |matrix| vec![loss(&rows, matrix)]);
        let even = vec![0.0; rows.len()];
        // where all logits are equal, what is left to n tokens together costs ln n less
        let cheaper = |s: &Scored| s.soft.as_ref().map_or(0.0, |soft| soft.rest() * ((vocabulary - soft.tokens().len()) as f64).ln());
        let right: f64 = scored.iter().map(|s| f64::from(s.weight) * ((vocabulary as f64).ln() - cheaper(s))).sum();
        assert!((loss(&even, &matrix) - right).abs() < 1e-10);
    }
}
