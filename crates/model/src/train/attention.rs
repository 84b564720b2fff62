//! Causal attention with grouped keys, forward and backward, blockwise: no T × T matrix is ever kept.
//! Knows one packed batch of rotated queries, keys and values, of which some rows belong to several sequences; positions are
//! already in them.
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

/// Rows that lie one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

/// A branch of the tree of sequences: its row i attends to all that lies before the branch, and to its own rows up to i.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its own rows.
    pub own: Span,
    /// The rows between the root and the branch, in order.
    pub before: Vec<Span>,
}

/// Query rows that are taken at once, and the keys that they see.
struct Block<'a> {
    /// First query row.
    start: usize,
    /// Query rows.
    count: usize,
    /// Keys that the first query sees without its own.
    first: usize,
    segment: &'a Segment,
}

impl<'a> Block<'a> {
    fn all(segment: &'a Segment) -> impl Iterator<Item = Self> {
        let Span { start, len } = segment.own;
        let before: usize = segment.before.iter().map(|span| span.len).sum();
        (0..len).step_by(BLOCK).map(move |at| Self { start: start + at, count: BLOCK.min(len - at), first: before + at, segment })
    }

    /// Keys that any of its queries sees: the width of its scores.
    fn seen(&self) -> usize {
        self.first + self.count
    }

    /// The rows of these keys, each with its first column among the scores.
    fn keys(&self) -> impl Iterator<Item = (Span, usize)> {
        let start = self.segment.own.start;
        let own = Span { start, len: self.start + self.count - start };
        let spans = self.segment.before.iter().copied().chain([own]);
        spans.scan(0, |column, span| {
            *column += span.len;
            Some((span, *column - span.len))
        })
    }
}

/// `mixed` (T × queries·width) from `qkv` (T × row); `norms` (heads × T) keeps the log of each softmax's denominator.
///
/// The softmax of Vaswani et al. 2017, arXiv 1706.03762; what is kept follows Dao et al. 2022, arXiv 2205.14135.
pub(super) fn attend<F: Float>(heads: Heads, segments: &[Segment], qkv: &[F], mixed: &mut [F], norms: &mut [F]) {
    let (row, out) = (heads.row(), heads.mixed());
    let rows = qkv.len() / row;
    let mut scores = Vec::new();
    for (segment, head) in segments.iter().flat_map(|s| (0..heads.queries).map(move |h| (s, h))) {
        let (q, k, v) = heads.columns(head);
        for block in Block::all(segment) {
            let (start, count, seen) = (block.start, block.count, block.seen());
            scores.resize(scores.len().max(count * seen), F::ZERO);
            let scores = &mut scores[..count * seen];
            let queries = Mat::strided(&qkv[start * row + q..], count, heads.width, row);
            for (span, column) in block.keys() {
                let keys = Mat::strided(&qkv[span.start * row + k..], span.len, heads.width, row);
                multiply(MatMut::strided(&mut scores[column..], count, span.len, seen), Old::Drop, heads.scale(), queries, keys.t());
            }
            let norms = &mut norms[head * rows + start..][..count];
            let mut sums = [F::ZERO; BLOCK];
            softmax(scores, block.first, norms, &mut sums[..count]);
            let target = &mut mixed[start * out + q..];
            for (span, column) in block.keys() {
                let old = if column == 0 { Old::Drop } else { Old::Add };
                let values = Mat::strided(&qkv[span.start * row + v..], span.len, heads.width, row);
                let weights = Mat::strided(&scores[column..], count, span.len, seen);
                multiply(MatMut::strided(target, count, heads.width, out), old, F::ONE, weights, values);
            }
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
    for (segment, head) in segments.iter().flat_map(|s| (0..heads.queries).map(move |h| (s, h))) {
        let (q, k, v) = heads.columns(head);
        for block in Block::all(segment) {
            let (start, count, seen) = (block.start, block.count, block.seen());
            let size = count * seen;
            weights.resize(weights.len().max(size), F::ZERO);
            slopes.resize(slopes.len().max(size), F::ZERO);
            let (weights, slopes) = (&mut weights[..size], &mut slopes[..size]);
            let part = |span: Span, column: usize| Mat::strided(&kept.qkv[span.start * row + column..], span.len, heads.width, row);
            let queries = part(Span { start, len: count }, q);
            let pulls = Mat::strided(&dmixed[start * out + q..], count, heads.width, out);
            for (span, column) in block.keys() {
                let (weights, slopes) = (&mut weights[column..], &mut slopes[column..]);
                multiply(MatMut::strided(weights, count, span.len, seen), Old::Drop, heads.scale(), queries, part(span, k).t());
                multiply(MatMut::strided(slopes, count, span.len, seen), Old::Drop, F::ONE, pulls, part(span, v).t());
            }
            let mut totals = [F::ZERO; BLOCK];
            for (i, total) in totals[..count].iter_mut().enumerate() {
                let span = (start + i) * out + q..(start + i) * out + q + heads.width;
                *total = dot(&kept.mixed[span.clone()], &dmixed[span]);
            }
            softmax_back(weights, slopes, block.first, &kept.norms[head * rows + start..][..count], &totals);
            let scale = heads.scale();
            let mut add = |span: Span, column: usize, scale: F, a: Mat<'_, F>, b: Mat<'_, F>| {
                let target = &mut dqkv[span.start * row + column..];
                multiply(MatMut::strided(target, span.len, heads.width, row), Old::Add, scale, a, b);
            };
            for (span, column) in block.keys() {
                let weights = Mat::strided(&weights[column..], count, span.len, seen);
                let slopes = Mat::strided(&slopes[column..], count, span.len, seen);
                add(span, v, F::ONE, weights.t(), pulls);
                add(Span { start, len: count }, q, scale, slopes, part(span, k));
                add(span, k, scale, slopes.t(), queries);
            }
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
    use super::{Attended, Heads, Segment, Span, attend, attend_back};
    use crate::train::differences::{agree, wave};

    #[test]
    fn attention_agrees_with_finite_differences_over_blocks_and_branches() {
        let heads = Heads { queries: 4, keys: 2, width: 2 };
        let span = |start, len| Span { start, len };
        // the third branch leaves the first after two rows and then the second after one
        let segments = [
            Segment { own: span(0, 65), before: vec![] },
            Segment { own: span(65, 2), before: vec![span(0, 2)] },
            Segment { own: span(67, 3), before: vec![span(0, 2), span(65, 1)] },
        ];
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
        // a row of a branch gets what it would get in a sequence of its own
        let path: Vec<usize> = [0, 1, 65, 67, 68, 69].into();
        let alone: Vec<f64> = path.iter().flat_map(|at| qkv[at * heads.row()..][..heads.row()].iter().copied()).collect();
        let (mut single, mut norms) = (vec![0.0; path.len() * heads.mixed()], vec![0.0; path.len() * 4]);
        attend(heads, &[Segment { own: span(0, path.len()), before: vec![] }], &alone, &mut single, &mut norms);
        for (row, at) in path.iter().enumerate() {
            for column in 0..heads.mixed() {
                assert!((single[row * heads.mixed() + column] - mixed[at * heads.mixed() + column]).abs() < 1e-14);
            }
        }
    }
}
