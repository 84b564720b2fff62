//! Keys and values of a batch of sequences, shared prefixes held once, and attention over them.
//!
//! Tokens of all sequences lie on one axis of slots. A sequence is a [`Path`]: the slots of its tokens in order, as ranges, so that
//! sequences with a common prefix name the same slots. Knows no weights and no token.
use std::ops::Range;

use crate::Config;
use crate::train::float::{exponentiate, greatest};
use crate::train::vector::{Kernel, dispatch};

/// Slots whose keys lie together, transposed.
const LANES: usize = 32;
/// Numbers in lanes. Arrays of eight are what the compiler turns into vector registers of any width.
type Lanes = [[f32; 8]; LANES / 8];
/// Query heads of a group that are computed at once: as many accumulators as the registers hold.
const HEADS: usize = 4;

/// Slots of a sequence's tokens, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Path(Vec<Range<usize>>);

impl Path {
    /// Adds slots at the end.
    pub fn push(&mut self, slots: Range<usize>) {
        match self.0.last_mut() {
            Some(last) if last.end == slots.start => last.end = slots.end,
            _ => self.0.push(slots),
        }
    }

    /// The first `length` slots.
    pub fn prefix(&self, length: usize) -> Self {
        Self(self.ranges(0, length).collect())
    }

    /// Slot of the token at `position`.
    pub fn slot(&self, position: usize) -> Option<usize> {
        self.ranges(position, position + 1).last().map(|range| range.start)
    }

    /// Slots of the tokens from position `from` on, up to position `to`.
    #[inline(always)]
    fn ranges(&self, from: usize, to: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let (mut skip, mut left) = (from, to);
        let ranges = self.0.iter().map_while(move |range| {
            let take = range.len().min(left);
            let skipped = take.min(skip);
            left -= take;
            skip -= skipped;
            (take > 0).then(|| range.start + skipped..range.start + take)
        });
        ranges.filter(|range| !range.is_empty())
    }
}

/// Keys and values of all layers.
pub(crate) struct Cache {
    heads: usize,
    width: usize,
    /// Factor on scores.
    scale: f32,
    /// Lanes that the values of a head take.
    columns: usize,
    blocks: usize,
    layers: Vec<Plane>,
}

/// Keys and values of one layer, a head after the other.
struct Plane {
    /// head × block × width, lanes over the slots of the block
    keys: Vec<Lanes>,
    /// head × slot × columns, lanes over the width
    values: Vec<Lanes>,
}

/// A query row: which path it reads, and which part of it.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    path: &'a Path,
    /// First position it sees.
    from: usize,
    /// Its own position and one.
    to: usize,
}

impl<'a> Reader<'a> {
    /// The row at `position` of a path, which sees as many positions as `window` says, its own among them, or all.
    pub fn new(path: &'a Path, position: usize, window: Option<usize>) -> Self {
        let to = position + 1;
        Self { path, from: window.map_or(0, |window| to.saturating_sub(window)), to }
    }

    /// Keys it sees.
    const fn length(&self) -> usize {
        self.to - self.from
    }

    #[inline(always)]
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.path.ranges(self.from, self.to)
    }
}

impl Cache {
    /// Room for `slots` tokens.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "all is computed in f32; a width is a small number")]
    pub fn new(config: &Config, slots: usize) -> Self {
        let (heads, width) = (config.num_key_value_heads, config.head_dim);
        let (columns, blocks) = (width.div_ceil(LANES), slots.div_ceil(LANES));
        let lanes = |count| vec![Lanes::default(); count];
        let plane = || Plane { keys: lanes(heads * blocks * width), values: lanes(heads * blocks * LANES * columns) };
        let scale = config.attention_scale.map_or_else(|| (width as f32).sqrt().recip(), |scale| scale as f32);
        Self { heads, width, scale, columns, blocks, layers: (0..config.num_hidden_layers).map(|_| plane()).collect() }
    }

    /// Bytes that one slot takes.
    pub const fn bytes_per_slot(config: &Config) -> usize {
        let padded = config.head_dim.next_multiple_of(LANES);
        config.num_hidden_layers * config.num_key_value_heads * (config.head_dim + padded) * size_of::<f32>()
    }

    /// Stores the keys and values (all heads side by side) of the token in `slot`.
    pub fn write(&mut self, layer: usize, slot: usize, keys: &[f32], values: &[f32]) {
        let plane = &mut self.layers[layer];
        let (lane, width) = (slot % LANES, self.width);
        for head in 0..self.heads {
            let block = (head * self.blocks + slot / LANES) * width;
            for (to, from) in plane.keys[block..][..width].iter_mut().zip(&keys[head * width..]) {
                to.as_flattened_mut()[lane] = *from;
            }
            let row = (head * self.blocks * LANES + slot) * self.columns;
            let row = plane.values[row..][..self.columns].as_flattened_mut().as_flattened_mut();
            row[..width].copy_from_slice(&values[head * width..][..width]);
        }
    }

    /// Softmax attention of query rows over their paths (Vaswani et al. 2017, arXiv 1706.03762; grouped keys as in Ainslie et al.
    /// 2023, arXiv 2305.13245). Row `i` of `queries` begins at `i * stride` and holds the query heads side by side; `mixed` gets as
    /// many rows of `groups · heads · width`.
    pub fn attend(&self, layer: usize, readers: &[Reader<'_>], queries: &[f32], stride: usize, groups: usize, mixed: &mut [f32]) {
        let longest = readers.iter().map(Reader::length).max().unwrap_or_default();
        let mut room = Room {
            scores: vec![0.0; HEADS * longest],
            room: longest,
            sums: vec![Lanes::default(); HEADS * self.columns],
            block: vec![Lanes::default(); HEADS],
        };
        let work = Work { cache: self, plane: &self.layers[layer], groups };
        dispatch::<_, Rows>((&work, readers, (queries, stride), mixed, &mut room));
    }
}

/// What every query row of a layer needs.
struct Work<'a> {
    cache: &'a Cache,
    plane: &'a Plane,
    /// Query heads to a key head.
    groups: usize,
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

impl Kernel<(&Work<'_>, &[Reader<'_>], (&[f32], usize), &mut [f32], &mut Room)> for Rows {
    type Output = ();
    #[inline(always)]
    fn run((work, readers, (queries, stride), mixed, room): (&Work<'_>, &[Reader<'_>], (&[f32], usize), &mut [f32], &mut Room)) {
        let width = work.cache.width;
        for (i, reader) in readers.iter().enumerate() {
            for head in 0..work.cache.heads {
                for group in (0..work.groups).step_by(HEADS) {
                    let count = HEADS.min(work.groups - group);
                    let first = (head * work.groups + group) * width;
                    let q = &queries[i * stride + first..][..count * width];
                    let out = &mut mixed[i * work.cache.heads * work.groups * width + first..][..count * width];
                    match count {
                        1 => one::<1>(work, head, reader, q, out, room),
                        2 => one::<2>(work, head, reader, q, out, room),
                        3 => one::<3>(work, head, reader, q, out, room),
                        _ => one::<HEADS>(work, head, reader, q, out, room),
                    }
                }
            }
        }
    }
}

/// Attention of `R` query heads of one row over one key head.
#[inline(always)]
fn one<const R: usize>(work: &Work<'_>, head: usize, reader: &Reader<'_>, queries: &[f32], out: &mut [f32], room: &mut Room) {
    let (width, length) = (work.cache.width, reader.length());
    score::<R>(work, head, reader, queries, room);
    let mut inverse = [0.0; R];
    for (r, inverse) in inverse.iter_mut().enumerate() {
        let row = &mut room.scores[r * room.room..][..length];
        let most = greatest(row);
        *inverse = exponentiate(row, most).recip();
    }
    mix::<R>(work, head, reader, room);
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
fn score<const R: usize>(work: &Work<'_>, head: usize, reader: &Reader<'_>, queries: &[f32], room: &mut Room) {
    let (width, scale) = (work.cache.width, work.cache.scale);
    let queries: [&[f32]; R] = std::array::from_fn(|r| &queries[r * width..][..width]);
    let mut done = 0;
    for range in reader.ranges() {
        for block in range.start / LANES..range.end.div_ceil(LANES) {
            let keys = &work.plane.keys[(head * work.cache.blocks + block) * width..][..width];
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
fn mix<const R: usize>(work: &Work<'_>, head: usize, reader: &Reader<'_>, room: &mut Room) {
    let columns = work.cache.columns;
    for column in 0..columns {
        let mut sums = [Lanes::default(); R];
        let mut done = 0;
        for range in reader.ranges() {
            let first = (head * work.cache.blocks * LANES + range.start) * columns;
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

#[cfg(test)]
mod tests {
    use super::{Cache, Path, Reader};
    use crate::Config;

    #[test]
    fn a_path_is_cut_and_joined() {
        let mut path = Path::default();
        path.push(0..5);
        path.push(9..10);
        path.push(10..12);
        assert_eq!(path.0, [0..5, 9..12]);
        assert_eq!(path.prefix(6).0, [0..5, 9..10]);
        assert_eq!((path.slot(4), path.slot(5), path.slot(7)), (Some(4), Some(9), Some(11)));
    }

    /// Attention by its definition in f64 against scattered slots, for every group size, with and without a window.
    #[test]
    fn attention_over_a_scattered_path_is_attention() {
        let text = r#"{"model_type": "llama", "vocab_size": 1, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 99, "rms_norm_eps": 1e-5}"#;
        let config = Config::from_json(text.as_bytes(), "test").expect("a small configuration");
        let number = |i: usize| ((i * 7919) % 101) as f32 / 40.0 - 1.2;
        let mut cache = Cache::new(&config, 120);
        let rows: Vec<Vec<f32>> = (0..120).map(|slot| (0..24).map(|j| number(slot * 24 + j)).collect()).collect();
        for (slot, row) in rows.iter().enumerate() {
            cache.write(0, slot, &row[..12], &row[12..]);
        }
        let mut path = Path::default();
        [3..20, 40..41, 62..110].into_iter().for_each(|range| path.push(range));
        let length = 60;
        for (groups, window) in [(1, None), (2, Some(200)), (3, Some(45)), (4, Some(3)), (5, None)] {
            let queries: Vec<f32> = (0..groups * 12).map(|i| number(i + 5)).collect();
            let mut mixed = vec![0.0; groups * 12];
            cache.attend(0, &[Reader::new(&path, length - 1, window)], &queries, groups * 12, groups, &mut mixed);
            let first = window.map_or(0, |window| length.saturating_sub(window));
            for head in 0..2 * groups {
                let key = head / groups;
                let slots: Vec<_> = (first..length).filter_map(|position| path.slot(position)).collect();
                let score = |slot: &usize| {
                    let dot: f64 = (0..6).map(|d| f64::from(queries[head * 6 + d]) * f64::from(rows[*slot][key * 6 + d])).sum();
                    (dot / 6_f64.sqrt()).exp()
                };
                let total: f64 = slots.iter().map(score).sum();
                for d in 0..6 {
                    let right: f64 = slots.iter().map(|slot| score(slot) / total * f64::from(rows[*slot][12 + key * 6 + d])).sum();
                    assert!((right - f64::from(mixed[head * 6 + d])).abs() < 1e-5);
                }
            }
        }
    }
}
