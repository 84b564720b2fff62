//! The way back through attention. Scores are computed again, tile by tile. Knows runs of rows and what the way forward kept.
use rayon::prelude::*;

use super::Heads;
use super::room::{Room, across, along, gather};
use super::run::{Run, Segment, Sight};
use super::unit;
use crate::train::float::{Float, dot};
use crate::train::kernels::add;
use crate::train::matmul::{Mat, MatMut, Old, multiply};
use crate::train::tiles::Unit;
use crate::train::vector::vectorised;

/// What [`super::attend`] took and gave, for the way back.
#[derive(Clone, Copy)]
pub(in crate::train) struct Attended<'a, F> {
    /// T × row.
    pub qkv: &'a [F],
    /// T × queries·width.
    pub mixed: &'a [F],
    /// T × queries.
    pub norms: &'a [F],
}

impl<'a, F: Float> Attended<'a, F> {
    /// Where this is f32.
    fn singles(self) -> Option<Attended<'a, f32>> {
        Some(Attended { qkv: F::singles(self.qkv)?, mixed: F::singles(self.mixed)?, norms: F::singles(self.norms)? })
    }
}

/// Lists of runs that are taken side by side on a wide way back; each adds up the gradients of keys by itself.
pub(in crate::train) const LISTS: usize = 4;

/// Runs, in order, in lists of about as many pairs of queries and keys each.
fn lists<'a>(runs: &'a [Run<'a>], count: usize) -> Vec<&'a [Run<'a>]> {
    let pairs = |run: &Run<'_>| run.own.len * run.keys();
    let total: usize = runs.iter().map(pairs).sum();
    let (mut lists, mut from, mut before) = (Vec::new(), 0, 0);
    for (i, run) in runs.iter().enumerate() {
        before += pairs(run);
        if before * count >= total * (lists.len() + 1) {
            lists.push(&runs[from..=i]);
            from = i + 1;
        }
    }
    lists
}

/// Sums of gradients that are made side by side: of groups of heads and lists of runs. Kept, so that memory is asked for once.
#[derive(Debug, Default)]
pub(in crate::train) struct Parts<F>(Vec<Vec<F>>);

/// Way back: overwrites `dqkv` from `dmixed`, which is zero for rows that were not `asked` for. Scores are computed again, tile by tile. `wide` takes groups of heads and
/// lists of runs side by side; the bits depend on `wide`, not on the threads.
pub(in crate::train) fn attend_back<F: Float>(
    heads: Heads,
    (segments, asked): (&[Segment], Option<&[usize]>),
    kept: Attended<'_, F>,
    dmixed: &[F],
    (dqkv, parts): (&mut [F], &mut Parts<F>),
    wide: bool,
) {
    let runs: Vec<_> = segments.iter().flat_map(|segment| Run::all(segment, heads.window)).filter(|run| run.has_any(asked)).collect();
    let lists = lists(&runs, if wide { LISTS } else { 1 });
    let rows = kept.mixed.len() / heads.mixed();
    let each = |(i, part): (usize, &mut Vec<F>)| {
        let (group, list) = (i / lists.len(), i % lists.len());
        part.clear();
        part.resize(rows * (heads.group(group).len() + 2) * heads.width, F::ZERO);
        let mut room = Room::default();
        for run in lists[list] {
            back_run(heads, group, run, kept, dmixed, part, &mut room);
        }
    };
    parts.0.resize_with(heads.keys * lists.len(), Vec::new);
    let (parts, chunk) = (&mut parts.0, SUMMED * heads.row());
    if wide {
        parts.par_iter_mut().enumerate().for_each(each);
        dqkv.par_chunks_mut(chunk).enumerate().for_each(|(i, dqkv)| add_up(heads, parts, lists.len(), i * SUMMED, dqkv));
    } else {
        parts.iter_mut().enumerate().for_each(each);
        add_up(heads, parts, lists.len(), 0, dqkv);
    }
}

/// Rows whose sums are made at once.
const SUMMED: usize = 256;

/// Writes the sums of the parts of each group's lists, from row `start` on.
fn add_up<F: Float>(heads: Heads, parts: &[Vec<F>], lists: usize, start: usize, dqkv: &mut [F]) {
    for (group, lists) in parts.chunks(lists).enumerate() {
        let (first, shared) = (heads.group(group).start, heads.group(group).len());
        let (_, k, v) = heads.columns(first);
        // columns of the whole row, and how many
        let places = [(first * heads.width, shared * heads.width), (k, heads.width), (v, heads.width)];
        for (i, row) in dqkv.chunks_exact_mut(heads.row()).enumerate() {
            let mut from = (start + i) * (shared + 2) * heads.width;
            for (column, width) in places {
                let target = &mut row[column..column + width];
                target.copy_from_slice(&lists[0][from..from + width]);
                lists[1..].iter().for_each(|list| target.iter_mut().zip(&list[from..]).for_each(|(sum, x)| *sum += *x));
                from += width;
            }
        }
    }
}

/// Adds to `part` (T × the queries of a group, its key, its value) what the queries of one run pull.
fn back_run<F: Float>(heads: Heads, group: usize, run: &Run<'_>, kept: Attended<'_, F>, dmixed: &[F], part: &mut [F], room: &mut Room<F>) {
    if let Some(unit) = Unit::begin()
        && let (Some(kept), Some(dmixed), Some(part)) = (kept.singles(), F::singles(dmixed), F::singles_mut(part))
    {
        return unit::back_run(&unit, (heads, group), run, kept, dmixed, part, &mut room.unit);
    }
    let (row, mixed, width, total) = (heads.row(), heads.mixed(), heads.width, run.keys());
    let members = heads.group(group);
    let (part_row, scale) = ((members.len() + 2) * width, heads.scale());
    let (_, k, v) = heads.columns(members.start);
    let Room { keys, keys_across, values, values_across, dkeys, dvalues, queries, pulls, out: dqueries, weights, slopes, .. } = room;
    along(run, kept.qkv, row, (k, width), keys);
    across(keys, total, keys_across);
    along(run, kept.qkv, row, (v, width), values);
    across(values, total, values_across);
    for gradient in [&mut *dkeys, &mut *dvalues] {
        gradient.clear();
        gradient.resize(total * width, F::ZERO);
    }
    for (at, count) in run.blocks() {
        let start = run.own.start + at;
        gather(heads, group, &kept.qkv[start * row..], row, count, queries);
        gather(heads, group, &dmixed[start * mixed..], mixed, count, pulls);
        let rows = members.len() * count;
        dqueries.clear();
        dqueries.resize(rows * width, F::ZERO);
        let columns = |head: usize, i: usize| (start + i) * mixed + head * width..(start + i) * mixed + (head + 1) * width;
        let places = members.clone().flat_map(|head| (0..count).map(move |i| (head, i)));
        let totals: Vec<F> = places.clone().map(|(head, i)| dot(&kept.mixed[columns(head, i)], &dmixed[columns(head, i)])).collect();
        let norms: Vec<F> = places.map(|(head, i)| kept.norms[(start + i) * heads.queries + head]).collect();
        let (queries, pulls) = (Mat::new(queries, rows, width), Mat::new(pulls, rows, width));
        for (key, len, sight) in run.tiles((at, count)) {
            weights.resize(rows * len, F::ZERO);
            slopes.resize(rows * len, F::ZERO);
            multiply(MatMut::new(weights, rows, len), Old::Drop, scale, queries, Mat::strided(&keys_across[key..], width, len, total));
            multiply(MatMut::new(slopes, rows, len), Old::Drop, F::ONE, pulls, Mat::strided(&values_across[key..], width, len, total));
            softmax_back(weights, slopes, sight, &norms, &totals);
            let (weights, slopes) = (Mat::new(weights, rows, len), Mat::new(slopes, rows, len));
            let tile = key * width..(key + len) * width;
            multiply(MatMut::new(dqueries, rows, width), Old::Add, scale, slopes, Mat::new(&keys[tile.clone()], len, width));
            multiply(MatMut::new(&mut dkeys[tile.clone()], len, width), Old::Add, scale, slopes.t(), queries);
            multiply(MatMut::new(&mut dvalues[tile], len, width), Old::Add, F::ONE, weights.t(), pulls);
        }
        for (member, dqueries) in dqueries.chunks_exact(count * width).enumerate() {
            for (i, dquery) in dqueries.chunks_exact(width).enumerate() {
                part[(start + i) * part_row + member * width..][..width].copy_from_slice(dquery);
            }
        }
    }
    let places = run.path().flat_map(|span| span.start..span.start + span.len);
    for (place, (dkey, dvalue)) in places.zip(dkeys.chunks_exact(width).zip(dvalues.chunks_exact(width))) {
        let (key, value) = part[place * part_row + members.len() * width..][..2 * width].split_at_mut(width);
        add(key, dkey);
        add(value, dvalue);
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
            let (norm, total) = (norms[i], totals[i]);
            for (weight, slope) in seen.iter_mut().zip(slopes) {
                *weight = (*weight - norm).exp();
                *slope = *weight * (*slope - total);
            }
            for unseen in [gone, gone_slopes, unseen, unseen_slopes] {
                unseen.fill(F::ZERO);
            }
        }
    }
}
