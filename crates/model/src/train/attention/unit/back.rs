//! The way back. Scores are computed again, tile by tile. Knows what the way forward kept.
use super::super::Heads;
use super::super::back::Attended;
use super::super::room::across;
use super::super::run::{Run, Sight};
use super::{KeysValues, Lanes, Mask, Packed, Queries, Room, TILE, Tile, exp, gather, places};
use crate::train::Precision;
use crate::train::float::dot;
use crate::train::kernels::add;
use crate::train::matmul::Old;
use crate::train::tiles::{BLOCK, INNER, Row, Unit, multiply, put_left, put_right};
use crate::train::vector::{Kernel, dispatch};

/// Adds to `part` (T × the queries of a group, its key, its value) what the queries of one run pull.
pub(in super::super) fn back_run(
    unit: &Unit,
    (heads, group): (Heads, usize),
    run: &Run<'_>,
    kept: Attended<'_, f32>,
    dmixed: &[f32],
    part: &mut [f32],
    room: &mut Room,
) {
    let (members, width) = (heads.group(group), heads.width.next_multiple_of(BLOCK));
    let (part_row, scale): (_, f32) = ((members.len() + 2) * heads.width, heads.scale());
    let past = Packed { heads, qkv: kept.qkv };
    begin((heads, group), run, kept, dmixed, room);
    let Room { rows, turned, blocks, tile } = room;
    for (i, places) in places(run).chunks(TILE).enumerate() {
        let len = places.len().next_multiple_of(BLOCK);
        tile.keys_at = (i * TILE, len);
        past.values(group, places, rows);
        tile.values.fill_left(rows, width, heads.precision);
        past.keys(group, places, rows);
        tile.keys.fill_left(rows, width, heads.precision);
        across(rows, len, turned);
        tile.keys_across.fill_left(turned, len, heads.precision);
        for gradient in [&mut tile.dkeys, &mut tile.dvalues] {
            gradient.clear();
            gradient.resize(len * width, 0.0);
        }
        for ((at, count), block) in run.blocks().zip(&mut *blocks) {
            if let Some(sight) = run.sight((at, count), tile.keys_at) {
                tile.pull(unit, block, (sight, count), (width, heads.precision));
            }
        }
        for (place, (dkey, dvalue)) in places.iter().zip(tile.dkeys.chunks_exact(width).zip(tile.dvalues.chunks_exact(width))) {
            let (key, value) = part[place * part_row + members.len() * heads.width..][..2 * heads.width].split_at_mut(heads.width);
            add(key, &dkey[..heads.width]);
            add(value, &dvalue[..heads.width]);
        }
    }
    for ((at, count), block) in run.blocks().zip(&*blocks) {
        block.rows(width, turned, rows);
        for (place, dquery) in rows.chunks_exact(width).take(members.len() * count).enumerate() {
            let target = &mut part[(run.own.start + at + place % count) * part_row + place / count * heads.width..][..heads.width];
            target.iter_mut().zip(dquery).for_each(|(target, x)| *target = *x * scale);
        }
    }
}

/// Lays out what belongs to the queries of a run.
fn begin((heads, group): (Heads, usize), run: &Run<'_>, kept: Attended<'_, f32>, dmixed: &[f32], room: &mut Room) {
    let (row, mixed, width, scale): (_, _, _, f32) = (heads.row(), heads.mixed(), heads.width.next_multiple_of(BLOCK), heads.scale());
    let Room { rows, turned, blocks, .. } = room;
    blocks.resize_with(run.blocks().count(), Default::default);
    for ((at, count), block) in run.blocks().zip(blocks) {
        let start = run.own.start + at;
        gather(heads, group, &kept.qkv[start * row..], row, count, rows);
        rows.iter_mut().for_each(|x| *x *= scale);
        block.begin(rows, width, heads.precision, turned);
        block.queries_down.fill_right(rows, width, heads.precision);
        gather(heads, group, &dmixed[start * mixed..], mixed, count, rows);
        across(rows, rows.len() / width, turned);
        block.pulls.fill_right(turned, rows.len() / width, heads.precision);
        block.pulls_down.fill_right(rows, width, heads.precision);
        let (norms, totals) = (block.tops.as_flattened_mut(), block.sums.as_flattened_mut());
        // what fills up has scores of zero, and pulls at nothing
        norms.fill(0.0);
        let places = heads.group(group).flat_map(|head| (start..start + count).map(move |i| (head, i)));
        for (place, (head, i)) in places.enumerate() {
            let at = i * mixed + head * heads.width;
            totals[place] = dot(&kept.mixed[at..][..heads.width], &dmixed[at..][..heads.width]);
            norms[place] = kept.norms[i * heads.queries + head];
        }
    }
}

impl Tile {
    /// Adds to the gradients of the keys and values here, and of a block's queries, what those that see them pull.
    fn pull(&mut self, unit: &Unit, queries: &mut Queries, (sight, count): (Sight, usize), (width, precision): (usize, Precision)) {
        let (steps, len, panels) = (width / INNER, self.keys_at.1 / BLOCK, queries.tops.len());
        let Self { scores, slopes, weights, slopes_left, rights, .. } = self;
        scores.resize(BLOCK * BLOCK, 0.0);
        slopes.resize(BLOCK * BLOCK, 0.0);
        weights.fit(len, panels, precision);
        slopes_left.fit(len, panels, precision);
        rights.fit(panels, len, precision);
        for panel in 0..panels {
            let mask = Mask::new(sight, self.keys_at.1, count, panel);
            let sums = (&queries.tops[panel], &queries.sums[panel]);
            for block in 0..len {
                multiply(unit, self.keys.whole(block), queries.queries.whole(panel), (scores, BLOCK), Old::Drop);
                multiply(unit, self.values.whole(block), queries.pulls.whole(panel), (slopes, BLOCK), Old::Drop);
                let factors = [weights.step_mut(block, panel), slopes_left.step_mut(block, panel), rights.step_mut(panel, block)];
                let arguments = ((scores.as_slice(), slopes.as_slice()), (&mask, block), sums, factors);
                match precision {
                    Precision::F32 => dispatch::<_, SoftmaxBack<3>>(arguments),
                    Precision::Bf16 => dispatch::<_, SoftmaxBack<1>>(arguments),
                }
            }
        }
        for (lefts, downs, out) in
            [(&*weights, &queries.pulls_down, &mut self.dvalues), (&*slopes_left, &queries.queries_down, &mut self.dkeys)]
        {
            for column in 0..steps {
                for (block, out) in out.chunks_exact_mut(BLOCK * width).enumerate() {
                    multiply(unit, lefts.whole(block), downs.whole(column), (&mut out[column * BLOCK..], width), Old::Add);
                }
            }
        }
        for (i, out) in queries.out.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
            multiply(unit, self.keys_across.whole(i % steps), rights.whole(i / steps), (out, BLOCK), Old::Add);
        }
    }
}

/// Scores of 32 keys × 32 queries become weights, and gradients of weights become gradients of scores: w · (dw - Σ dw·w), where the
/// sum over keys (`totals`) equals the product of the query's result with its gradient. Both are laid out as left factors, the latter
/// as a right one too.
struct SoftmaxBack<const PIECES: usize>;

type Arguments<'a> = ((&'a [f32], &'a [f32]), (&'a Mask, usize), (&'a Lanes, &'a Lanes), [&'a mut [Row]; 3]);

impl<'a, const PIECES: usize> Kernel<Arguments<'a>> for SoftmaxBack<PIECES> {
    type Output = ();
    #[inline(always)]
    fn run(((scores, slopes), (mask, block), sums, [weights_left, slopes_left, slopes_right]): Arguments<'a>) {
        let (scores, slopes) = (scores.as_chunks::<BLOCK>().0, slopes.as_chunks::<BLOCK>().0);
        for pair in 0..BLOCK / 2 {
            let mut rows = [[0.0; BLOCK]; 2];
            for (i, row) in rows.iter_mut().enumerate() {
                let key = 2 * pair + i;
                let mut weights = [0.0; BLOCK];
                Self::row((&scores[key], &slopes[key]), (mask, block * BLOCK + key), sums, (&mut weights, row));
                put_left::<PIECES>(weights_left, key, &weights);
                put_left::<PIECES>(slopes_left, key, row);
            }
            put_right::<PIECES>(slopes_right, pair, &rows[0], &rows[1]);
        }
    }
}

impl<const PIECES: usize> SoftmaxBack<PIECES> {
    #[inline(always)]
    fn row(
        (scores, slopes): (&Lanes, &Lanes),
        (mask, key): (&Mask, usize),
        (norms, totals): (&Lanes, &Lanes),
        (weights, gradients): (&mut Lanes, &mut Lanes),
    ) {
        for j in 0..BLOCK {
            weights[j] = exp(scores[j] - norms[j]);
            gradients[j] = weights[j] * (slopes[j] - totals[j]);
        }
        mask.set(key, weights, 0.0);
        mask.set(key, gradients, 0.0);
    }
}
