//! Causal attention with grouped keys, forward and backward, blockwise: no T × T matrix is ever kept.
//! Knows one packed batch of rotated queries, keys and values; positions are already in them.
use super::float::{Float, dot, exponentiate, greatest};
use super::matmul::{Mat, MatMut, Old, multiply};
use super::vector::vectorised;

/// Query rows that are taken at once: the block of scores (rows × keys) should stay in the second-level cache.
const BLOCK: usize = 64;

/// Where heads lie in a row of queries, keys and values.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
}

impl Heads {
    /// Width of a row: queries, keys, values.
    pub fn row(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }

    /// Width of a row of results.
    pub fn mixed(self) -> usize {
        self.queries * self.width
    }

    /// First columns of the query, key and value of query head `head`.
    fn columns(self, head: usize) -> (usize, usize, usize) {
        let group = head * self.keys / self.queries;
        (head * self.width, (self.queries + group) * self.width, (self.queries + self.keys + group) * self.width)
    }

    fn scale<F: Float>(self) -> F {
        F::ONE / F::from_f64(self.width as f64).sqrt()
    }
}

/// Rows of a batch that attend to one another: row i to those of its own up to i.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

/// Blocks of rows of a segment: (first row within it, rows).
fn blocks(segment: Segment) -> impl Iterator<Item = (usize, usize)> {
    (0..segment.len).step_by(BLOCK).map(move |first| (first, BLOCK.min(segment.len - first)))
}

/// `mixed` (T × queries·width) from `qkv` (T × row); `norms` (heads × T) keeps the log of each softmax's denominator.
///
/// The softmax of Vaswani et al. 2017, arXiv 1706.03762; what is kept follows Dao et al. 2022, arXiv 2205.14135.
pub(super) fn attend<F: Float>(heads: Heads, segments: &[Segment], qkv: &[F], mixed: &mut [F], norms: &mut [F]) {
    let (row, out) = (heads.row(), heads.mixed());
    let rows = qkv.len() / row;
    let mut scores = Vec::new();
    for (segment, head) in segments.iter().flat_map(|s| (0..heads.queries).map(move |h| (*s, h))) {
        let (q, k, v) = heads.columns(head);
        let base = segment.start * row;
        for (first, count) in blocks(segment) {
            let seen = first + count;
            scores.resize(scores.len().max(count * seen), F::ZERO);
            let scores = &mut scores[..count * seen];
            let queries = Mat::strided(&qkv[base + first * row + q..], count, heads.width, row);
            let keys = Mat::strided(&qkv[base + k..], seen, heads.width, row);
            let values = Mat::strided(&qkv[base + v..], seen, heads.width, row);
            multiply(MatMut::new(scores, count, seen), Old::Drop, heads.scale(), queries, keys.t());
            let start = segment.start + first;
            let norms = &mut norms[head * rows + start..][..count];
            let mut sums = [F::ZERO; BLOCK];
            softmax(scores, first, norms, &mut sums[..count]);
            let target = &mut mixed[start * out + q..];
            multiply(MatMut::strided(target, count, heads.width, out), Old::Drop, F::ONE, Mat::new(scores, count, seen), values);
            for (i, sum) in sums[..count].iter().enumerate() {
                let factor = F::ONE / *sum;
                target[i * out..][..heads.width].iter_mut().for_each(|x| *x *= factor);
            }
        }
    }
}

vectorised! {
    /// Rows of scores become unscaled weights; row i sees `first + i + 1` of them, the others become zero.
    fn softmax(scores: &mut [F], first: usize, norms: &mut [F], sums: &mut [F]) -> () {
        let width = scores.len() / norms.len();
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            let (seen, unseen) = row.split_at_mut(first + i + 1);
            let top = greatest(seen);
            sums[i] = exponentiate(seen, top);
            norms[i] = top + sums[i].ln();
            unseen.fill(F::ZERO);
        }
    }
}

/// What [`attend`] took and gave, for the way back.
#[derive(Clone, Copy)]
pub(super) struct Attended<'a, F> {
    /// T × row.
    pub qkv: &'a [F],
    /// T × queries·width.
    pub mixed: &'a [F],
    /// heads × T.
    pub norms: &'a [F],
}

/// Way back: overwrites `dqkv` from `dmixed`. Scores are computed again, block by block.
pub(super) fn attend_back<F: Float>(heads: Heads, segments: &[Segment], kept: Attended<'_, F>, dmixed: &[F], dqkv: &mut [F]) {
    let (row, out) = (heads.row(), heads.mixed());
    let rows = kept.qkv.len() / row;
    dqkv.fill(F::ZERO);
    let (mut weights, mut slopes) = (Vec::new(), Vec::new());
    for (segment, head) in segments.iter().flat_map(|s| (0..heads.queries).map(move |h| (*s, h))) {
        let (q, k, v) = heads.columns(head);
        let base = segment.start * row;
        for (first, count) in blocks(segment) {
            let (seen, start) = (first + count, segment.start + first);
            let size = count * seen;
            weights.resize(weights.len().max(size), F::ZERO);
            slopes.resize(slopes.len().max(size), F::ZERO);
            let (weights, slopes) = (&mut weights[..size], &mut slopes[..size]);
            let queries = Mat::strided(&kept.qkv[base + first * row + q..], count, heads.width, row);
            let keys = Mat::strided(&kept.qkv[base + k..], seen, heads.width, row);
            let values = Mat::strided(&kept.qkv[base + v..], seen, heads.width, row);
            let pulls = Mat::strided(&dmixed[start * out + q..], count, heads.width, out);
            multiply(MatMut::new(weights, count, seen), Old::Drop, heads.scale(), queries, keys.t());
            multiply(MatMut::new(slopes, count, seen), Old::Drop, F::ONE, pulls, values.t());
            let mut totals = [F::ZERO; BLOCK];
            for (i, total) in totals[..count].iter_mut().enumerate() {
                let span = (start + i) * out + q..(start + i) * out + q + heads.width;
                *total = dot(&kept.mixed[span.clone()], &dmixed[span]);
            }
            softmax_back(weights, slopes, first, &kept.norms[head * rows + start..][..count], &totals);
            let (weights, slopes) = (Mat::new(weights, count, seen), Mat::new(slopes, count, seen));
            let scale = heads.scale();
            let mut add = |column: usize, n: usize, scale: F, a: Mat<'_, F>, b: Mat<'_, F>| {
                multiply(MatMut::strided(&mut dqkv[column..], n, heads.width, row), Old::Add, scale, a, b);
            };
            add(base + v, seen, F::ONE, weights.t(), pulls);
            add(base + first * row + q, count, scale, slopes, keys);
            add(base + k, seen, scale, slopes.t(), queries);
        }
    }
}

vectorised! {
    /// Scores become weights, and gradients of weights become gradients of scores: w · (dw - Σ dw·w), where the sum over
    /// keys (`totals`) equals the product of the row's result with its gradient.
    fn softmax_back(weights: &mut [F], slopes: &mut [F], first: usize, norms: &[F], totals: &[F]) -> () {
        let width = weights.len() / norms.len();
        for (i, (weights, slopes)) in weights.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width)).enumerate() {
            let (seen, unseen) = weights.split_at_mut(first + i + 1);
            let (slopes, unseen_slopes) = slopes.split_at_mut(first + i + 1);
            let (norm, total) = (norms[i], totals[i]);
            for (weight, slope) in seen.iter_mut().zip(slopes) {
                *weight = (*weight - norm).exp();
                *slope = *weight * (*slope - total);
            }
            unseen.fill(F::ZERO);
            unseen_slopes.fill(F::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attended, Heads, Segment, attend, attend_back};
    use crate::train::differences::{agree, wave};

    #[test]
    fn attention_agrees_with_finite_differences_over_blocks_and_segments() {
        let heads = Heads { queries: 4, keys: 2, width: 2 };
        let segments = [Segment { start: 0, len: 67 }, Segment { start: 67, len: 3 }];
        let forward = |qkv: &[f64]| {
            let (mut mixed, mut norms) = (vec![0.0; 70 * heads.mixed()], vec![0.0; 70 * 4]);
            attend(heads, &segments, qkv, &mut mixed, &mut norms);
            (mixed, norms)
        };
        let (qkv, pull) = (wave(70 * heads.row(), 1), wave(70 * heads.mixed(), 2));
        let (mixed, norms) = forward(&qkv);
        let mut dqkv = vec![1.0; qkv.len()];
        attend_back(heads, &segments, Attended { qkv: &qkv, mixed: &mixed, norms: &norms }, &pull, &mut dqkv);
        agree(&qkv, &dqkv, &pull, |qkv| forward(qkv).0);
        // the first row of a segment sees itself alone
        let value = |row: usize, head: usize| (6 + head / 2) * 2 + row * heads.row();
        for head in 0..4 {
            assert!((mixed[67 * 8 + head * 2] - qkv[value(67, head)]).abs() < 1e-14);
        }
    }
}
