//! Causal attention with grouped keys, forward and backward, tile by tile: no T × T matrix is ever kept.
//! Knows one packed batch of rotated queries, keys and values, of which some rows belong to several sequences; positions are
//! already in them.
use rayon::prelude::*;

use super::float::{Float, dot, exponentiate, greatest};
use super::matmul::{Mat, MatMut, Old, multiply};
use super::vector::vectorised;

/// Query rows that are taken at once, those of all heads of a group together: keys and values are packed for a product once for
/// all of them.
const BLOCK: usize = 64;

/// Keys that are taken at once: the scores of a group's queries should stay in the second-level cache.
const TILE: usize = 512;

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

    /// What its queries see of a tile whose first key has place `key`.
    fn sight(&self, key: usize) -> Sight {
        Sight { first: self.first, count: self.count, key, window: self.window }
    }

    /// The rows of the keys that its queries see, the last ones in part, each with the place of its first key among them all.
    fn tiles(&self) -> impl Iterator<Item = (Span, usize)> {
        let start = self.segment.own.start;
        let own = Span { start, len: self.start + self.count - start };
        let spans = self.segment.before.iter().copied().chain([own]);
        let placed = spans.scan((self.past, 0), |(past, key), span| {
            let gone = span.len.min(*past);
            let left = Span { start: span.start + gone, len: span.len - gone };
            *past -= gone;
            *key += left.len;
            Some((left, *key - left.len))
        });
        placed.flat_map(|(Span { start, len }, key)| {
            (0..len).step_by(TILE).map(move |at| (Span { start: start + at, len: TILE.min(len - at) }, key + at))
        })
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
    let each = |room: &mut Room<F>, (block, mixed, norms): (&Block<'_>, &mut [F], &mut [F])| {
        (0..heads.keys).for_each(|group| attend_block(heads, group, block, qkv, mixed, norms, room));
    };
    if wide {
        tasks.into_par_iter().for_each_init(Room::default, each);
    } else {
        let mut room = Room::default();
        tasks.into_iter().for_each(|task| each(&mut room, task));
    }
}

/// Buffers of a block: its queries and what belongs to them, head after head.
#[derive(Default)]
struct Room<F> {
    queries: Vec<F>,
    pulls: Vec<F>,
    out: Vec<F>,
    weights: Vec<F>,
    slopes: Vec<F>,
}

/// The columns of a group's heads from rows `stride` apart, head after head: heads · rows × width.
fn gather<F: Float>(heads: Heads, group: usize, rows: &[F], stride: usize, count: usize, out: &mut Vec<F>) {
    out.clear();
    for head in heads.group(group) {
        for i in 0..count {
            out.extend_from_slice(&rows[i * stride + head * heads.width..][..heads.width]);
        }
    }
}

fn attend_block<F: Float>(heads: Heads, group: usize, block: &Block<'_>, qkv: &[F], mixed: &mut [F], norms: &mut [F], room: &mut Room<F>) {
    let (row, width, count) = (heads.row(), heads.width, block.count);
    let (_, k, v) = heads.columns(heads.group(group).start);
    let Room { queries, out, weights: scores, .. } = room;
    gather(heads, group, &qkv[block.start * row..], row, count, queries);
    let rows = queries.len() / width;
    out.resize(rows * width, F::ZERO);
    let (mut tops, mut sums) = (vec![F::ZERO; rows], vec![F::ZERO; rows]);
    for (span, key) in block.tiles() {
        scores.resize(rows * span.len, F::ZERO);
        let queries = Mat::new(queries, rows, width);
        let keys = Mat::strided(&qkv[span.start * row + k..], span.len, width, row);
        multiply(MatMut::new(scores, rows, span.len), Old::Drop, heads.scale(), queries, keys.t());
        softmax(scores, block.sight(key), &mut tops, &mut sums, out);
        let old = if key == 0 { Old::Drop } else { Old::Add };
        let values = Mat::strided(&qkv[span.start * row + v..], span.len, width, row);
        multiply(MatMut::new(out, rows, width), old, F::ONE, Mat::new(scores, rows, span.len), values);
    }
    for (head, out) in heads.group(group).zip(out.chunks_exact(count * width)) {
        for (i, out) in out.chunks_exact(width).enumerate() {
            let at = (head - heads.group(group).start) * count + i;
            let factor = F::ONE / sums[at];
            let target = &mut mixed[i * heads.mixed() + head * width..][..width];
            target.iter_mut().zip(out).for_each(|(target, out)| *target = *out * factor);
            norms[i * heads.queries + head] = tops[at] + sums[at].ln();
        }
    }
}

/// Which keys of a tile the queries of a block see.
#[derive(Clone, Copy)]
struct Sight {
    /// Keys before the first query's own.
    first: usize,
    /// Queries of each head.
    count: usize,
    /// Place of the tile's first key.
    key: usize,
    /// Keys that a query sees at most.
    window: usize,
}

impl Sight {
    /// The first of `len` keys that the query in row `row` of a group sees, and the end of those that it sees.
    #[inline(always)]
    fn of(self, row: usize, len: usize) -> (usize, usize) {
        let end = self.first + row % self.count + 1;
        let within = |place: usize| place.saturating_sub(self.key).min(len);
        (within(end.saturating_sub(self.window)), within(end))
    }
}

vectorised! {
    /// A tile of scores becomes weights, up to the factor exp(-top) / sum of each row, of which `tops` and `sums` keep the present
    /// values, sums of zero at first; `out`, the sums of weighted values so far, is brought to the present top. What a query does
    /// not see becomes zero.
    ///
    /// Milakov and Gimelshein 2018, arXiv 1805.02867.
    fn softmax(scores: &mut [F], sight: Sight, tops: &mut [F], sums: &mut [F], out: &mut [F]) -> () {
        let (len, width) = (scores.len() / tops.len(), out.len() / tops.len());
        for (i, (scores, out)) in scores.chunks_exact_mut(len).zip(out.chunks_exact_mut(width)).enumerate() {
            let (past, end) = sight.of(i, len);
            let (seen, unseen) = scores.split_at_mut(end);
            let (gone, seen) = seen.split_at_mut(past);
            gone.fill(F::ZERO);
            unseen.fill(F::ZERO);
            if seen.is_empty() {
                continue;
            }
            let top = greatest(seen);
            if sums[i] == F::ZERO {
                tops[i] = top;
            } else if top > tops[i] {
                let factor = (tops[i] - top).exp();
                (tops[i], sums[i]) = (top, sums[i] * factor);
                out.iter_mut().for_each(|x| *x *= factor);
            }
            sums[i] += exponentiate(seen, tops[i]);
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
pub(super) const LISTS: usize = 4;

/// Way back: overwrites `dqkv` from `dmixed`. Scores are computed again, block by block. `wide` takes groups of heads and
/// lists of blocks side by side; the bits depend on `wide`, not on the threads.
pub(super) fn attend_back<F: Float>(heads: Heads, segments: &[Segment], kept: Attended<'_, F>, dmixed: &[F], dqkv: &mut [F], wide: bool) {
    let blocks: Vec<_> = segments.iter().flat_map(|segment| Block::all(segment, heads.window)).collect();
    let lists = if wide { LISTS.min(blocks.len()) } else { 1 };
    let task = |i: usize| {
        let (group, list) = (i / lists, i % lists);
        let mut part = vec![F::ZERO; kept.mixed.len() / heads.mixed() * (heads.group(group).len() + 2) * heads.width];
        let mut room = Room::default();
        for block in blocks.iter().skip(list).step_by(lists) {
            back_block(heads, group, block, kept, dmixed, &mut part, &mut room);
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
    room: &mut Room<F>,
) {
    let (row, mixed, width) = (heads.row(), heads.mixed(), heads.width);
    let (members, start, count) = (heads.group(group), block.start, block.count);
    let shared = members.len();
    let (part_row, scale) = ((shared + 2) * width, heads.scale());
    let (_, k, v) = heads.columns(members.start);
    let Room { queries, pulls, out: dqueries, weights, slopes } = room;
    gather(heads, group, &kept.qkv[start * row..], row, count, queries);
    gather(heads, group, &dmixed[start * mixed..], mixed, count, pulls);
    let rows = shared * count;
    dqueries.resize(rows * width, F::ZERO);
    let at = |head: usize, i: usize| (start + i) * mixed + head * width..(start + i) * mixed + (head + 1) * width;
    let places = members.clone().flat_map(|head| (0..count).map(move |i| (head, i)));
    let totals: Vec<F> = places.clone().map(|(head, i)| dot(&kept.mixed[at(head, i)], &dmixed[at(head, i)])).collect();
    let norms: Vec<F> = places.map(|(head, i)| kept.norms[(start + i) * heads.queries + head]).collect();
    let (queries, pulls) = (Mat::new(queries, rows, width), Mat::new(pulls, rows, width));
    for (span, key) in block.tiles() {
        let values = |column: usize| Mat::strided(&kept.qkv[span.start * row + column..], span.len, width, row);
        weights.resize(rows * span.len, F::ZERO);
        slopes.resize(rows * span.len, F::ZERO);
        multiply(MatMut::new(weights, rows, span.len), Old::Drop, scale, queries, values(k).t());
        multiply(MatMut::new(slopes, rows, span.len), Old::Drop, F::ONE, pulls, values(v).t());
        softmax_back(weights, slopes, block.sight(key), &norms, &totals);
        let (weights, slopes) = (Mat::new(weights, rows, span.len), Mat::new(slopes, rows, span.len));
        let old = if key == 0 { Old::Drop } else { Old::Add };
        multiply(MatMut::new(dqueries, rows, width), old, scale, slopes, values(k));
        let mut add = |place: usize, scale: F, a: Mat<'_, F>, b: Mat<'_, F>| {
            let target = &mut part[span.start * part_row + place * width..];
            multiply(MatMut::strided(target, span.len, width, part_row), Old::Add, scale, a, b);
        };
        add(shared, scale, slopes.t(), queries);
        add(shared + 1, F::ONE, weights.t(), pulls);
    }
    for (member, dqueries) in dqueries.chunks_exact(count * width).enumerate() {
        for (i, dquery) in dqueries.chunks_exact(width).enumerate() {
            part[(start + i) * part_row + member * width..][..width].copy_from_slice(dquery);
        }
    }
}

vectorised! {
    /// A tile of scores becomes weights, and gradients of weights become gradients of scores: w · (dw - Σ dw·w), where the sum over
    /// keys (`totals`) equals the product of the row's result with its gradient.
    fn softmax_back(weights: &mut [F], slopes: &mut [F], sight: Sight, norms: &[F], totals: &[F]) -> () {
        let len = weights.len() / norms.len();
        for (i, (weights, slopes)) in weights.chunks_exact_mut(len).zip(slopes.chunks_exact_mut(len)).enumerate() {
            let (past, end) = sight.of(i, len);
            let (seen, unseen) = weights.split_at_mut(end);
            let (slopes, unseen_slopes) = slopes.split_at_mut(end);
            let ((gone, seen), (gone_slopes, slopes)) = (seen.split_at_mut(past), slopes.split_at_mut(past));
            gone.fill(F::ZERO);
            gone_slopes.fill(F::ZERO);
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
