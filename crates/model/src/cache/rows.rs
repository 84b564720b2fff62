//! Attention of rows that need have nothing in common, by vectors: answers while they are written, the last layer of prompts, and all
//! where there is no matrix unit. Knows places, no weights.
use std::ops::Range;

use super::{Cache, LANES, Lanes, Path, Plane, Reader};
use crate::train::float::{exponentiate, greatest};
use crate::train::vector::{Kernel, dispatch};

/// Query heads of a group that are computed at once: as many accumulators as the registers hold.
const HEADS: usize = 4;

/// The slots that a row sees.
struct Sight<'a> {
    path: &'a Path,
    /// First position.
    from: usize,
    /// Its own position and one.
    to: usize,
}

impl<'a> Sight<'a> {
    /// What a row sees of as many positions as `window` says, its own among them, or of all.
    fn new(Reader { path, position }: Reader<'a>, window: Option<usize>) -> Self {
        let to = position + 1;
        Self { path, from: window.map_or(0, |window| to.saturating_sub(window)), to }
    }

    /// Keys.
    const fn length(&self) -> usize {
        self.to - self.from
    }

    #[inline(always)]
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.path.ranges(self.from, self.to)
    }
}

impl Cache {
    /// Softmax attention of query rows over their paths (Vaswani et al. 2017, arXiv 1706.03762; grouped keys as in Ainslie et al.
    /// 2023, arXiv 2305.13245), of which they see as many positions as `window` says, their own among them, or all. Row `i` of
    /// `queries` begins at `i * stride` and holds the query heads side by side; so does `mixed`, without gaps.
    pub fn attend(&self, layer: usize, readers: &[Reader<'_>], window: Option<usize>, queries: (&[f32], usize), mixed: &mut [f32]) {
        let sights: Vec<_> = readers.iter().map(|reader| Sight::new(*reader, window)).collect();
        let longest = sights.iter().map(Sight::length).max().unwrap_or_default();
        let mut room = Room {
            scores: vec![0.0; HEADS * longest],
            room: longest,
            sums: vec![Lanes::default(); HEADS * self.columns],
            block: vec![Lanes::default(); HEADS],
        };
        let work = Work { cache: self, plane: &self.layers[layer], scale: self.heads.scale() };
        dispatch::<_, Rows>((&work, &sights, queries, mixed, &mut room));
    }
}

/// What every query row of a layer needs.
struct Work<'a> {
    cache: &'a Cache,
    plane: &'a Plane,
    /// Factor on scores.
    scale: f32,
}

/// Reused between rows.
struct Room {
    /// HEADS × `room`
    scores: Vec<f32>,
    room: usize,
    /// HEADS × columns
    sums: Vec<Lanes>,
    /// Scores of HEADS queries against one block of keys.
    block: Vec<Lanes>,
}

/// Attention of all query rows of a layer.
struct Rows;

impl Kernel<(&Work<'_>, &[Sight<'_>], (&[f32], usize), &mut [f32], &mut Room)> for Rows {
    type Output = ();
    #[inline(always)]
    fn run((work, sights, (queries, stride), mixed, room): (&Work<'_>, &[Sight<'_>], (&[f32], usize), &mut [f32], &mut Room)) {
        let heads = work.cache.heads;
        let (width, groups) = (heads.width, heads.queries / heads.keys);
        // head after head, so that what the rows have in common stays in the second cache from row to row
        for head in 0..heads.keys {
            for (i, sight) in sights.iter().enumerate() {
                for group in (0..groups).step_by(HEADS) {
                    let count = HEADS.min(groups - group);
                    let first = (head * groups + group) * width;
                    let q = &queries[i * stride + first..][..count * width];
                    let out = &mut mixed[i * heads.mixed() + first..][..count * width];
                    match count {
                        1 => one::<1>(work, head, sight, q, out, room),
                        2 => one::<2>(work, head, sight, q, out, room),
                        3 => one::<3>(work, head, sight, q, out, room),
                        _ => one::<HEADS>(work, head, sight, q, out, room),
                    }
                }
            }
        }
    }
}

/// Attention of `R` query heads of one row over one key head.
#[inline(always)]
fn one<const R: usize>(work: &Work<'_>, head: usize, sight: &Sight<'_>, queries: &[f32], out: &mut [f32], room: &mut Room) {
    let (width, length) = (work.cache.heads.width, sight.length());
    score::<R>(work, head, sight, queries, room);
    let mut inverse = [0.0; R];
    for (r, inverse) in inverse.iter_mut().enumerate() {
        let row = &mut room.scores[r * room.room..][..length];
        let most = greatest(row);
        *inverse = exponentiate(row, most).recip();
    }
    mix::<R>(work, head, sight, room);
    for (r, out) in out.chunks_exact_mut(width).enumerate() {
        let sums = room.sums[r * work.cache.columns..][..work.cache.columns].as_flattened().as_flattened();
        for (to, from) in out.iter_mut().zip(sums) {
            *to = from * inverse[r];
        }
    }
}

/// `sums += x · lanes`, rounded once: one instruction on every machine with AVX2, a slow call on older ones.
#[inline(always)]
fn add(sums: &mut Lanes, x: f32, lanes: &Lanes) {
    for (sums, lanes) in sums.iter_mut().zip(lanes) {
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum = x.mul_add(*lane, *sum);
        }
    }
}

/// Scores of `R` queries against the keys of the path. Each score is one chain of additions, whatever block its key lies in.
#[inline(always)]
fn score<const R: usize>(work: &Work<'_>, head: usize, sight: &Sight<'_>, queries: &[f32], room: &mut Room) {
    let (width, scale) = (work.cache.heads.width, work.scale);
    let queries: [&[f32]; R] = std::array::from_fn(|r| &queries[r * width..][..width]);
    let mut done = 0;
    for range in sight.ranges() {
        for block in range.start / LANES..range.end.div_ceil(LANES) {
            let keys = &work.plane.keys[work.cache.block(head, block * LANES)];
            let mut sums = [Lanes::default(); R];
            for (d, keys) in keys.iter().enumerate() {
                for r in 0..R {
                    add(&mut sums[r], queries[r][d], keys);
                }
            }
            // the accumulators stay in registers only if nothing indexes them by a number that is not known beforehand
            room.block[..R].copy_from_slice(&sums);
            let from = range.start.max(block * LANES) - block * LANES;
            let to = range.end.min((block + 1) * LANES) - block * LANES;
            for r in 0..R {
                let row = &mut room.scores[r * room.room + done..][..to - from];
                for (score, sum) in row.iter_mut().zip(&room.block[r].as_flattened()[from..to]) {
                    *score = sum * scale;
                }
            }
            done += to - from;
        }
    }
}

/// Sums of the values of the path, weighted by `R` rows of scores. Each sum is one chain of additions in the order of the path.
#[inline(always)]
fn mix<const R: usize>(work: &Work<'_>, head: usize, sight: &Sight<'_>, room: &mut Room) {
    let columns = work.cache.columns;
    for column in 0..columns {
        let mut sums = [Lanes::default(); R];
        let mut done = 0;
        for range in sight.ranges() {
            let first = work.cache.row(head, range.start).start;
            let values = work.plane.values[first..][..range.len() * columns].iter().skip(column).step_by(columns);
            let weights: [&[f32]; R] = std::array::from_fn(|r| &room.scores[r * room.room + done..][..range.len()]);
            for (t, values) in values.enumerate() {
                for r in 0..R {
                    add(&mut sums[r], weights[r][t], values);
                }
            }
            done += range.len();
        }
        for (r, sums) in sums.iter().enumerate() {
            room.sums[r * columns + column] = *sums;
        }
    }
}
