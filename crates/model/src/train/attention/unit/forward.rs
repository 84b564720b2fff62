//! The way forward. Knows what is kept for the way back, no gradient.
use super::super::Heads;
use super::super::room::across;
use super::super::run::{Run, Sight};
use super::{Lanes, Mask, Queries, Room, TILE, Tile, along, exp, gather, places};
use crate::train::Precision;
use crate::train::matmul::Old;
use crate::train::tiles::{BLOCK, Factor, INNER, Unit, multiply, put_right};
use crate::train::vector::{Kernel, dispatch};

/// Keys and values of the places that runs look back on, for one group: places × width, both filled up to whole blocks.
pub(crate) trait KeysValues {
    fn keys(&self, group: usize, places: &[usize], out: &mut Vec<f32>);
    fn values(&self, group: usize, places: &[usize], out: &mut Vec<f32>);
}

/// Rows of queries, keys and values.
pub(in super::super) struct Packed<'a> {
    pub heads: Heads,
    pub qkv: &'a [f32],
}

impl KeysValues for Packed<'_> {
    fn keys(&self, group: usize, places: &[usize], out: &mut Vec<f32>) {
        let (_, k, _) = self.heads.columns(self.heads.group(group).start);
        along(places, self.qkv, self.heads.row(), (k, self.heads.width), out);
    }

    fn values(&self, group: usize, places: &[usize], out: &mut Vec<f32>) {
        let (_, _, v) = self.heads.columns(self.heads.group(group).start);
        along(places, self.qkv, self.heads.row(), (v, self.heads.width), out);
    }
}

/// `mixed` of a run's rows for the heads of one group, and `norms` if asked for. `queries` begin with those of the run, in rows that are
/// `stride` apart.
pub(crate) fn attend_run(
    unit: &Unit,
    (heads, group): (Heads, usize),
    run: &Run<'_>,
    (queries, stride): (&[f32], usize),
    past: &impl KeysValues,
    (mixed, mut norms): (&mut [f32], Option<&mut [f32]>),
    room: &mut Room,
) {
    let (members, width) = (heads.group(group), heads.width.next_multiple_of(BLOCK));
    let scale: f32 = heads.scale();
    let Room { rows, turned, blocks, tile } = room;
    blocks.resize_with(run.blocks().count(), Default::default);
    for ((at, count), block) in run.blocks().zip(&mut *blocks) {
        gather(heads, group, &queries[at * stride..], stride, count, rows);
        rows.iter_mut().for_each(|x| *x *= scale);
        block.begin(rows, width, heads.precision, turned);
    }
    for (i, places) in places(run).chunks(TILE).enumerate() {
        let len = places.len().next_multiple_of(BLOCK);
        tile.keys_at = (i * TILE, len);
        past.keys(group, places, rows);
        tile.keys.fill_left(rows, width, heads.precision);
        past.values(group, places, rows);
        across(rows, len, turned);
        tile.values.fill_left(turned, len, heads.precision);
        for ((at, count), block) in run.blocks().zip(&mut *blocks) {
            if let Some(sight) = run.sight((at, count), tile.keys_at) {
                tile.look(unit, block, (sight, count), (width, heads.precision));
            }
        }
    }
    for ((at, count), block) in run.blocks().zip(&*blocks) {
        block.rows(width, turned, rows);
        let (tops, sums) = (block.tops.as_flattened(), block.sums.as_flattened());
        for (place, out) in rows.chunks_exact(width).take(members.len() * count).enumerate() {
            let (head, i) = (members.start + place / count, at + place % count);
            let factor = 1.0 / sums[place];
            let target = &mut mixed[i * heads.mixed() + head * heads.width..][..heads.width];
            target.iter_mut().zip(out).for_each(|(target, out)| *target = *out * factor);
            if let Some(norms) = &mut norms {
                norms[i * heads.queries + head] = tops[place] + sums[place].ln();
            }
        }
    }
}

impl Tile {
    /// Adds to the results of a block's queries what they see here.
    fn look(&mut self, unit: &Unit, queries: &mut Queries, (sight, count): (Sight, usize), (width, precision): (usize, Precision)) {
        let len = self.keys_at.1;
        self.scores.resize(len * BLOCK, 0.0);
        self.rights.fit(1, len / INNER, precision);
        for (panel, out) in queries.out.chunks_exact_mut(width * BLOCK).enumerate() {
            for (block, scores) in self.scores.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
                multiply(unit, self.keys.whole(block), queries.queries.whole(panel), (scores, BLOCK), Old::Drop);
            }
            let mask = Mask::new(sight, len, count, panel);
            let (top, sum) = (&mut queries.tops[panel], &mut queries.sums[panel]);
            let arguments = (self.scores.as_mut_slice(), &mask, top, sum, &mut self.rights, &mut *out);
            match precision {
                Precision::F32 => dispatch::<_, Softmax<3>>(arguments),
                Precision::Bf16 => dispatch::<_, Softmax<1>>(arguments),
            }
            for (block, out) in out.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
                multiply(unit, self.values.whole(block), self.rights.whole(0), (out, BLOCK), Old::Add);
            }
        }
    }
}

/// A panel of scores, keys × 32 queries, becomes weights, laid out as a factor, up to the factor exp(-top) / sum of each query, of
/// which `tops` and `sums` keep the present values; `out` (width × 32), the sums of weighted values so far, is brought to the present
/// top. What a query does not see becomes zero.
///
/// Milakov and Gimelshein 2018, arXiv 1805.02867.
struct Softmax<const PIECES: usize>;

impl<'a, const PIECES: usize> Kernel<(&'a mut [f32], &'a Mask, &'a mut Lanes, &'a mut Lanes, &'a mut Factor, &'a mut [f32])>
    for Softmax<PIECES>
{
    type Output = ();
    #[inline(always)]
    fn run(
        (scores, mask, tops, sums, weights, out): (&'a mut [f32], &'a Mask, &'a mut Lanes, &'a mut Lanes, &'a mut Factor, &'a mut [f32]),
    ) {
        let (scores, out) = (scores.as_chunks_mut::<BLOCK>().0, out.as_chunks_mut::<BLOCK>().0);
        let mut top = *tops;
        for (key, row) in scores.iter_mut().enumerate() {
            mask.set(key, row, f32::MIN);
            for (top, x) in top.iter_mut().zip(row) {
                *top = if *x > *top { *x } else { *top };
            }
        }
        if top != *tops {
            let mut factors = [0.0; BLOCK];
            for j in 0..BLOCK {
                factors[j] = exp(tops[j] - top[j]);
                sums[j] *= factors[j];
            }
            for row in out {
                row.iter_mut().zip(&factors).for_each(|(x, factor)| *x *= factor);
            }
            *tops = top;
        }
        for (pair, [upper, lower]) in scores.as_chunks::<2>().0.iter().enumerate() {
            let upper = Self::weigh(upper, (mask, 2 * pair), &top, sums);
            let lower = Self::weigh(lower, (mask, 2 * pair + 1), &top, sums);
            put_right::<PIECES>(weights.step_mut(0, pair / (INNER / 2)), pair % (INNER / 2), &upper, &lower);
        }
    }
}

impl<const PIECES: usize> Softmax<PIECES> {
    #[inline(always)]
    fn weigh(scores: &Lanes, (mask, key): (&Mask, usize), tops: &Lanes, sums: &mut Lanes) -> Lanes {
        let mut weights = [0.0; BLOCK];
        for j in 0..BLOCK {
            weights[j] = exp(scores[j] - tops[j]);
        }
        mask.set(key, &mut weights, 0.0);
        sums.iter_mut().zip(&weights).for_each(|(sum, weight)| *sum += *weight);
        weights
    }
}
