//! Attention, forward. Knows runs of rows, no gradient.
use rayon::prelude::*;

use super::Heads;
use super::room::{Room, across, along, gather};
use super::run::{Run, Segment, Sight};
use super::unit;
use crate::train::float::{Float, exponentiate, greatest};
use crate::train::matmul::{Mat, MatMut, Old, multiply};
use crate::train::tiles::Unit;
use crate::train::vector::vectorised;

/// `mixed` (T × queries·width) from `qkv` (T × row); `norms` (T × queries) keeps the log of each softmax's denominator.
/// Where only some rows are `asked` for, in order, runs without any of them are left as they are. `wide` takes runs side by side.
///
/// The softmax of Vaswani et al. 2017, arXiv 1706.03762; what is kept follows Dao et al. 2022, arXiv 2205.14135.
pub(in crate::train) fn attend<F: Float>(
    heads: Heads,
    (segments, asked): (&[Segment], Option<&[usize]>),
    qkv: &[F],
    (mut mixed, mut norms): (&mut [F], &mut [F]),
    wide: bool,
) {
    let runs: Vec<_> = segments.iter().flat_map(|segment| Run::all(segment, heads.window)).collect();
    let mut tasks = Vec::with_capacity(runs.len());
    // runs follow one another as their rows do
    for run in &runs {
        let (run_mixed, run_norms);
        (run_mixed, mixed) = mixed.split_at_mut(run.own.len * heads.mixed());
        (run_norms, norms) = norms.split_at_mut(run.own.len * heads.queries);
        if run.has_any(asked) {
            tasks.push((run, run_mixed, run_norms));
        }
    }
    let each = |room: &mut Room<F>, (run, mixed, norms): (&Run<'_>, &mut [F], &mut [F])| {
        (0..heads.keys).for_each(|group| attend_run(heads, group, run, qkv, (mixed, norms), room));
    };
    if wide {
        tasks.into_par_iter().for_each_init(Room::default, each);
    } else {
        let mut room = Room::default();
        tasks.into_iter().for_each(|task| each(&mut room, task));
    }
}

fn attend_run<F: Float>(heads: Heads, group: usize, run: &Run<'_>, qkv: &[F], (mixed, norms): (&mut [F], &mut [F]), room: &mut Room<F>) {
    if let Some(unit) = Unit::begin()
        && let (Some(qkv), Some(mixed), Some(norms)) = (F::singles(qkv), F::singles_mut(mixed), F::singles_mut(norms))
    {
        let (queries, past) = (&qkv[run.own.start * heads.row()..], unit::Packed { heads, qkv });
        return unit::attend_run(&unit, (heads, group), run, (queries, heads.row()), &past, (mixed, Some(norms)), &mut room.unit);
    }
    let (row, width, total, members) = (heads.row(), heads.width, run.keys(), heads.group(group));
    let (_, k, v) = heads.columns(members.start);
    let Room { keys, keys_across, values, queries, out, weights: scores, .. } = room;
    along(run, qkv, row, (k, width), keys);
    across(keys, total, keys_across);
    along(run, qkv, row, (v, width), values);
    for (at, count) in run.blocks() {
        gather(heads, group, &qkv[(run.own.start + at) * row..], row, count, queries);
        let rows = queries.len() / width;
        out.clear();
        out.resize(rows * width, F::ZERO);
        let (mut tops, mut sums) = (vec![F::ZERO; rows], vec![F::ZERO; rows]);
        for (key, len, sight) in run.tiles((at, count)) {
            scores.resize(rows * len, F::ZERO);
            let keys = Mat::strided(&keys_across[key..], width, len, total);
            multiply(MatMut::new(scores, rows, len), Old::Drop, heads.scale(), Mat::new(queries, rows, width), keys);
            softmax(scores, sight, &mut tops, &mut sums, out);
            let values = Mat::new(&values[key * width..(key + len) * width], len, width);
            multiply(MatMut::new(out, rows, width), Old::Add, F::ONE, Mat::new(scores, rows, len), values);
        }
        for (member, out) in out.chunks_exact(count * width).enumerate() {
            for (i, out) in out.chunks_exact(width).enumerate() {
                let (head, place) = (members.start + member, member * count + i);
                let factor = F::ONE / sums[place];
                let target = &mut mixed[(at + i) * heads.mixed() + head * width..][..width];
                target.iter_mut().zip(out).for_each(|(target, out)| *target = *out * factor);
                norms[(at + i) * heads.queries + head] = tops[place] + sums[place].ln();
            }
        }
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
