//! Causal attention with grouped keys, forward and backward, blockwise: no T × T matrix is ever kept.
//! Knows one packed batch of rotated queries, keys and values, of which some rows belong to several sequences; positions are
//! already in them.
use rayon::prelude::*;

use super::float::{Float, dot, exponentiate, greatest};
use super::matmul::{Mat, MatMut, Old, multiply};
use super::vector::vectorised;

/// Query rows that are taken at once: the block of scores (rows × keys) should stay in the second-level cache.
const BLOCK: usize = 64;

/// Where heads lie in a row of queries, keys and values, and what they see.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
    /// Factor on scores; 1 / √width if none.
    pub scale: Option<f64>,
    /// Positions that a row sees, its own among them; all up to its own if none.
    pub window: Option<usize>,
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

    /// The query heads of a group that shares keys.
    fn group(self, group: usize) -> std::ops::Range<usize> {
        let shared = self.queries / self.keys;
        group * shared..(group + 1) * shared
    }

    /// Factor on scores.
    pub fn scale<F: Float>(self) -> F {
        self.scale.map_or_else(|| F::ONE / F::from_f64(self.width as f64).sqrt(), F::from_f64)
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
    /// Keys before the first query's own, without those that no query sees any more.
    first: usize,
    /// Keys at the beginning of the path that no query sees any more.
    past: usize,
    /// Keys that a query sees at most.
    window: usize,
    segment: &'a Segment,
}

impl<'a> Block<'a> {
    fn all(segment: &'a Segment, window: Option<usize>) -> impl Iterator<Item = Self> {
        let Span { start, len } = segment.own;
        let before: usize = segment.before.iter().map(|span| span.len).sum();
        let window = window.unwrap_or(usize::MAX);
        (0..len).step_by(BLOCK).map(move |at| {
            let past = (before + at + 1).saturating_sub(window);
            Self { start: start + at, count: BLOCK.min(len - at), first: before + at - past, past, window, segment }
        })
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
        let spans = spans.scan((self.past, 0), |(past, column), span| {
            let gone = span.len.min(*past);
            let left = Span { start: span.start + gone, len: span.len - gone };
            *past -= gone;
            *column += left.len;
            Some((left, *column - left.len))
        });
        spans.filter(|(span, _)| span.len > 0)
    }
}

/// `mixed` (T × queries·width) from `qkv` (T × row); `norms` (T × queries) keeps the log of each softmax's denominator.
/// `wide` takes blocks of rows side by side.
///
/// The softmax of Vaswani et al. 2017, arXiv 1706.03762; what is kept follows Dao et al. 2022, arXiv 2205.14135.
pub(super) fn attend<F: Float>(heads: Heads, segments: &[Segment], qkv: &[F], mixed: &mut [F], norms: &mut [F], wide: bool) {
    let (mut mixed, mut norms) = (mixed, norms);
    let blocks: Vec<_> = segments.iter().flat_map(|segment| Block::all(segment, heads.window)).collect();
    let mut tasks = Vec::with_capacity(blocks.len());
    // blocks follow one another as their rows do
    for block in &blocks {
        let (block_mixed, block_norms);
        (block_mixed, mixed) = mixed.split_at_mut(block.count * heads.mixed());
        (block_norms, norms) = norms.split_at_mut(block.count * heads.queries);
        tasks.push((block, block_mixed, block_norms));
    }
    if wide {
        tasks
            .into_par_iter()
            .for_each_init(Vec::new, |scores, (block, mixed, norms)| attend_block(heads, block, qkv, mixed, norms, scores));
    } else {
        let mut scores = Vec::new();
        tasks.into_iter().for_each(|(block, mixed, norms)| attend_block(heads, block, qkv, mixed, norms, &mut scores));
    }
}

fn attend_block<F: Float>(heads: Heads, block: &Block<'_>, qkv: &[F], mixed: &mut [F], norms: &mut [F], scores: &mut Vec<F>) {
    let (row, out) = (heads.row(), heads.mixed());
    let (start, count, seen) = (block.start, block.count, block.seen());
    scores.resize(scores.len().max(count * seen), F::ZERO);
    let scores = &mut scores[..count * seen];
    for head in 0..heads.queries {
        let (q, k, v) = heads.columns(head);
        let queries = Mat::strided(&qkv[start * row + q..], count, heads.width, row);
        for (span, column) in block.keys() {
            let keys = Mat::strided(&qkv[span.start * row + k..], span.len, heads.width, row);
            multiply(MatMut::strided(&mut scores[column..], count, span.len, seen), Old::Drop, heads.scale(), queries, keys.t());
        }
        let (mut logs, mut sums) = ([F::ZERO; BLOCK], [F::ZERO; BLOCK]);
        softmax(scores, block.first, block.window, &mut logs[..count], &mut sums[..count]);
        let target = &mut mixed[q..];
        for (span, column) in block.keys() {
            let old = if column == 0 { Old::Drop } else { Old::Add };
            let values = Mat::strided(&qkv[span.start * row + v..], span.len, heads.width, row);
            let weights = Mat::strided(&scores[column..], count, span.len, seen);
            multiply(MatMut::strided(target, count, heads.width, out), old, F::ONE, weights, values);
        }
        for i in 0..count {
            let factor = F::ONE / sums[i];
            target[i * out..][..heads.width].iter_mut().for_each(|x| *x *= factor);
            norms[i * heads.queries + head] = logs[i];
        }
    }
}

vectorised! {
    /// Rows of scores become unscaled weights; row i sees the last `window` of the first `first + i + 1`, the others become zero.
    fn softmax(scores: &mut [F], first: usize, window: usize, norms: &mut [F], sums: &mut [F]) -> () {
        let width = scores.len() / norms.len();
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            let (seen, unseen) = row.split_at_mut(first + i + 1);
            let (past, seen) = seen.split_at_mut(seen.len().saturating_sub(window));
            past.fill(F::ZERO);
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
    /// T × queries.
    pub norms: &'a [F],
}

/// Lists of blocks that are taken side by side on a wide way back; each adds up the gradients of keys by itself.
const LISTS: usize = 4;

/// Way back: overwrites `dqkv` from `dmixed`. Scores are computed again, block by block. `wide` takes groups of heads and
/// lists of blocks side by side; the bits depend on `wide`, not on the threads.
pub(super) fn attend_back<F: Float>(heads: Heads, segments: &[Segment], kept: Attended<'_, F>, dmixed: &[F], dqkv: &mut [F], wide: bool) {
    let blocks: Vec<_> = segments.iter().flat_map(|segment| Block::all(segment, heads.window)).collect();
    let lists = if wide { LISTS.min(blocks.len()) } else { 1 };
    let task = |i: usize| {
        let (group, list) = (i / lists, i % lists);
        let mut part = vec![F::ZERO; kept.mixed.len() / heads.mixed() * (heads.group(group).len() + 2) * heads.width];
        let (mut weights, mut slopes) = (Vec::new(), Vec::new());
        for block in blocks.iter().skip(list).step_by(lists) {
            back_block(heads, group, block, kept, dmixed, &mut part, (&mut weights, &mut slopes));
        }
        part
    };
    let tasks = heads.keys * lists;
    let parts: Vec<Vec<F>> = if wide { (0..tasks).into_par_iter().map(task).collect() } else { (0..tasks).map(task).collect() };
    for (group, lists) in parts.chunks(lists).enumerate() {
        let (first, shared) = (heads.group(group).start, heads.group(group).len());
        let (_, k, v) = heads.columns(first);
        // columns of the whole row, and how many
        let places = [(first * heads.width, shared * heads.width), (k, heads.width), (v, heads.width)];
        for (i, row) in dqkv.chunks_exact_mut(heads.row()).enumerate() {
            let mut from = i * (shared + 2) * heads.width;
            for (column, width) in places {
                let target = &mut row[column..column + width];
                target.copy_from_slice(&lists[0][from..from + width]);
                lists[1..].iter().for_each(|list| target.iter_mut().zip(&list[from..]).for_each(|(sum, x)| *sum += *x));
                from += width;
            }
        }
    }
}

/// Adds to `part` (T × the queries of a group, its key, its value) what the queries of one block pull.
fn back_block<F: Float>(
    heads: Heads,
    group: usize,
    block: &Block<'_>,
    kept: Attended<'_, F>,
    dmixed: &[F],
    part: &mut [F],
    (weights, slopes): (&mut Vec<F>, &mut Vec<F>),
) {
    let (row, out) = (heads.row(), heads.mixed());
    let members = heads.group(group);
    let shared = members.len();
    let (part_row, scale) = ((shared + 2) * heads.width, heads.scale());
    let (start, count, seen) = (block.start, block.count, block.seen());
    let size = count * seen;
    weights.resize(weights.len().max(size), F::ZERO);
    slopes.resize(slopes.len().max(size), F::ZERO);
    let (weights, slopes) = (&mut weights[..size], &mut slopes[..size]);
    let own = Span { start, len: count };
    for (member, head) in members.enumerate() {
        let (q, k, v) = heads.columns(head);
        let values = |span: Span, column: usize| Mat::strided(&kept.qkv[span.start * row + column..], span.len, heads.width, row);
        let queries = values(own, q);
        let pulls = Mat::strided(&dmixed[start * out + q..], count, heads.width, out);
        for (span, column) in block.keys() {
            let (weights, slopes) = (&mut weights[column..], &mut slopes[column..]);
            multiply(MatMut::strided(weights, count, span.len, seen), Old::Drop, scale, queries, values(span, k).t());
            multiply(MatMut::strided(slopes, count, span.len, seen), Old::Drop, F::ONE, pulls, values(span, v).t());
        }
        let (mut logs, mut totals) = ([F::ZERO; BLOCK], [F::ZERO; BLOCK]);
        for i in 0..count {
            let at = (start + i) * out + q..(start + i) * out + q + heads.width;
            totals[i] = dot(&kept.mixed[at.clone()], &dmixed[at]);
            logs[i] = kept.norms[(start + i) * heads.queries + head];
        }
        softmax_back(weights, slopes, (block.first, block.window), &logs[..count], &totals);
        let mut add = |span: Span, place: usize, scale: F, a: Mat<'_, F>, b: Mat<'_, F>| {
            let target = &mut part[span.start * part_row + place * heads.width..];
            multiply(MatMut::strided(target, span.len, heads.width, part_row), Old::Add, scale, a, b);
        };
        for (span, column) in block.keys() {
            let weights = Mat::strided(&weights[column..], count, span.len, seen);
            let slopes = Mat::strided(&slopes[column..], count, span.len, seen);
            add(own, member, scale, slopes, values(span, k));
            add(span, shared, scale, slopes.t(), queries);
            add(span, shared + 1, F::ONE, weights.t(), pulls);
        }
    }
}

vectorised! {
    /// Scores become weights, and gradients of weights become gradients of scores: w · (dw - Σ dw·w), where the sum over
    /// keys (`totals`) equals the product of the row's result with its gradient.
    fn softmax_back(weights: &mut [F], slopes: &mut [F], seen: (usize, usize), norms: &[F], totals: &[F]) -> () {
        let (first, window) = seen;
        let width = weights.len() / norms.len();
        for (i, (weights, slopes)) in weights.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width)).enumerate() {
            let (seen, unseen) = weights.split_at_mut(first + i + 1);
            let (slopes, unseen_slopes) = slopes.split_at_mut(first + i + 1);
            let gone = seen.len().saturating_sub(window);
            let ((past, seen), (past_slopes, slopes)) = (seen.split_at_mut(gone), slopes.split_at_mut(gone));
            past.fill(F::ZERO);
            past_slopes.fill(F::ZERO);
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
        let heads = Heads { queries: 4, keys: 2, width: 2, scale: None, window: None };
        check(heads);
        // a window that is wider than a block, one within it, one row
        for window in [66, 3, 1] {
            check(Heads { window: Some(window), scale: Some(0.3), ..heads });
        }
    }

    fn check(heads: Heads) {
        let span = |start, len| Span { start, len };
        // the third branch leaves the first after two rows and then the second after one
        let segments = [
            Segment { own: span(0, 65), before: vec![] },
            Segment { own: span(65, 2), before: vec![span(0, 2)] },
            Segment { own: span(67, 3), before: vec![span(0, 2), span(65, 1)] },
        ];
        let forward = |qkv: &[f64]| {
            let (mut mixed, mut norms) = (vec![0.0; 70 * heads.mixed()], vec![0.0; 70 * 4]);
            attend(heads, &segments, qkv, &mut mixed, &mut norms, false);
            (mixed, norms)
        };
        let (qkv, pull) = (wave(70 * heads.row(), 1), wave(70 * heads.mixed(), 2));
        let (mixed, norms) = forward(&qkv);
        for wide in [false, true] {
            let mut dqkv = vec![1.0; qkv.len()];
            attend_back(heads, &segments, Attended { qkv: &qkv, mixed: &mixed, norms: &norms }, &pull, &mut dqkv, wide);
            agree(&qkv, &dqkv, &pull, |qkv| forward(qkv).0);
        }
        // a row of a branch gets what it would get in a sequence of its own
        let path: Vec<usize> = [0, 1, 65, 67, 68, 69].into();
        let alone: Vec<f64> = path.iter().flat_map(|at| qkv[at * heads.row()..][..heads.row()].iter().copied()).collect();
        let (mut single, mut norms) = (vec![0.0; path.len() * heads.mixed()], vec![0.0; path.len() * 4]);
        attend(heads, &[Segment { own: span(0, path.len()), before: vec![] }], &alone, &mut single, &mut norms, true);
        // and a row what the definition says
        let slow = |row: usize, column: usize| {
            let (q, k, v) = heads.columns(column / heads.width);
            let from = heads.window.map_or(0, |window| (row + 1).saturating_sub(window));
            let value = |row: usize, column: usize| alone[row * heads.row() + column];
            let weight = |key: usize| {
                let dot: f64 = (0..heads.width).map(|i| value(row, q + i) * value(key, k + i)).sum();
                (dot * heads.scale::<f64>()).exp()
            };
            let sum: f64 = (from..=row).map(weight).sum();
            (from..=row).map(|key| weight(key) / sum * value(key, v + column % heads.width)).sum::<f64>()
        };
        for (row, at) in path.iter().enumerate() {
            for column in 0..heads.mixed() {
                assert!((single[row * heads.mixed() + column] - mixed[at * heads.mixed() + column]).abs() < 1e-14);
                assert!((single[row * heads.mixed() + column] - slow(row, column)).abs() < 1e-13);
            }
        }
    }
}
