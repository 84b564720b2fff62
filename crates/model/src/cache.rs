//! Keys and values of a batch of sequences, shared prefixes held once, and attention over them.
//!
//! Tokens of all sequences lie on one axis of slots. A sequence is a [`Path`]: the slots of its tokens in order, as ranges, so that
//! sequences with a common prefix name the same slots. Knows no weights and no token.
use std::ops::Range;

use crate::Config;
use crate::train::float::{exponentiate, greatest};
use crate::train::vector::{Kernel, dispatch};

/// Slots whose keys lie together, transposed: one vector register or two.
const LANES: usize = 32;
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
        Self(self.ranges(length).collect())
    }

    /// Slot of the token at `position`.
    pub fn slot(&self, position: usize) -> Option<usize> {
        self.ranges(position + 1).last().map(|range| range.end - 1)
    }

    #[inline(always)]
    fn ranges(&self, length: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut left = length;
        self.0.iter().map_while(move |range| {
            let take = range.len().min(left);
            left -= take;
            (take > 0).then(|| range.start..range.start + take)
        })
    }
}

/// Keys and values of all layers.
pub(crate) struct Cache {
    heads: usize,
    width: usize,
    padded: usize,
    blocks: usize,
    layers: Vec<Plane>,
}

/// Keys and values of one layer, a head after the other.
struct Plane {
    /// head × block × width × LANES
    keys: Vec<f32>,
    /// head × slot × padded width
    values: Vec<f32>,
}

/// A query row: which path it reads and how far.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub path: &'a Path,
    /// Keys it sees, its own among them.
    pub length: usize,
}

impl Cache {
    /// Room for `slots` tokens.
    pub fn new(config: &Config, slots: usize) -> Self {
        let (heads, width) = (config.num_key_value_heads, config.head_dim);
        let (padded, blocks) = (width.next_multiple_of(LANES), slots.div_ceil(LANES));
        let plane = || Plane { keys: vec![0.0; heads * blocks * width * LANES], values: vec![0.0; heads * blocks * LANES * padded] };
        Self { heads, width, padded, blocks, layers: (0..config.num_hidden_layers).map(|_| plane()).collect() }
    }

    /// Bytes that one slot takes.
    pub const fn bytes_per_slot(config: &Config) -> usize {
        let padded = config.head_dim.next_multiple_of(LANES);
        config.num_hidden_layers * config.num_key_value_heads * (config.head_dim + padded) * size_of::<f32>()
    }

    /// Stores the keys and values (all heads side by side) of the token in `slot`.
    pub fn write(&mut self, layer: usize, slot: usize, keys: &[f32], values: &[f32]) {
        let plane = &mut self.layers[layer];
        for head in 0..self.heads {
            let block = (head * self.blocks + slot / LANES) * self.width * LANES;
            let column = plane.keys[block..][..self.width * LANES].iter_mut().skip(slot % LANES).step_by(LANES);
            for (to, from) in column.zip(&keys[head * self.width..][..self.width]) {
                *to = *from;
            }
            let row = (head * self.blocks * LANES + slot) * self.padded;
            plane.values[row..][..self.width].copy_from_slice(&values[head * self.width..][..self.width]);
        }
    }

    /// Softmax attention of query rows over their paths (Vaswani et al. 2017, arXiv 1706.03762; grouped keys as in Ainslie et al.
    /// 2023, arXiv 2305.13245). Row `i` of `queries` begins at `i * stride` and holds the query heads side by side; `mixed` gets as
    /// many rows of `groups · heads · width`.
    pub fn attend(&self, layer: usize, readers: &[Reader<'_>], queries: &[f32], stride: usize, groups: usize, mixed: &mut [f32]) {
        let longest = readers.iter().map(|reader| reader.length).max().unwrap_or_default();
        let mut room = Room { scores: vec![0.0; HEADS * longest], room: longest, sums: vec![0.0; HEADS * self.padded] };
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
    /// HEADS × padded width
    sums: Vec<f32>,
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
    let (width, length) = (work.cache.width, reader.length);
    score::<R>(work, head, reader, queries, room);
    let mut inverse = [0.0; R];
    for (r, inverse) in inverse.iter_mut().enumerate() {
        let row = &mut room.scores[r * room.room..][..length];
        let most = greatest(row);
        *inverse = exponentiate(row, most).recip();
    }
    mix::<R>(work, head, reader, room);
    for r in 0..R {
        for (to, from) in out[r * width..][..width].iter_mut().zip(&room.sums[r * work.cache.padded..]) {
            *to = from * inverse[r];
        }
    }
}

/// Scores of `R` queries against the keys of the path. Each score is one chain of additions, whatever block its key lies in.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "the width of a head is a small number")]
#[expect(clippy::needless_range_loop, reason = "one index walks two arrays; written so, the loop vectorises")]
fn score<const R: usize>(work: &Work<'_>, head: usize, reader: &Reader<'_>, queries: &[f32], room: &mut Room) {
    let width = work.cache.width;
    let scale = (width as f32).sqrt().recip();
    let mut done = 0;
    for range in reader.path.ranges(reader.length) {
        for block in range.start / LANES..range.end.div_ceil(LANES) {
            let keys = &work.plane.keys[(head * work.cache.blocks + block) * width * LANES..][..width * LANES];
            let mut sums = [[0.0_f32; LANES]; R];
            for (d, keys) in keys.chunks_exact(LANES).enumerate() {
                for r in 0..R {
                    let q = queries[r * width + d];
                    for lane in 0..LANES {
                        sums[r][lane] += q * keys[lane];
                    }
                }
            }
            let from = range.start.max(block * LANES) - block * LANES;
            let to = range.end.min((block + 1) * LANES) - block * LANES;
            for r in 0..R {
                let row = &mut room.scores[r * room.room + done..][..to - from];
                for (score, sum) in row.iter_mut().zip(&sums[r][from..to]) {
                    *score = sum * scale;
                }
            }
            done += to - from;
        }
    }
}

/// Sums of the values of the path, weighted by `R` rows of scores.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "one index walks two arrays; written so, the loop vectorises")]
fn mix<const R: usize>(work: &Work<'_>, head: usize, reader: &Reader<'_>, room: &mut Room) {
    let padded = work.cache.padded;
    for column in (0..padded).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; R];
        let mut done = 0;
        for range in reader.path.ranges(reader.length) {
            let first = (head * work.cache.blocks * LANES + range.start) * padded;
            let values = work.plane.values[first..][..range.len() * padded].chunks_exact(padded);
            for (t, values) in values.enumerate() {
                let values = &values[column..column + LANES];
                for r in 0..R {
                    let weight = room.scores[r * room.room + done + t];
                    for lane in 0..LANES {
                        sums[r][lane] += weight * values[lane];
                    }
                }
            }
            done += range.len();
        }
        for r in 0..R {
            room.sums[r * padded + column..][..LANES].copy_from_slice(&sums[r]);
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

    /// Attention by its definition in f64 against scattered slots, for every group size.
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
        for groups in 1..=5 {
            let queries: Vec<f32> = (0..groups * 12).map(|i| number(i + 5)).collect();
            let mut mixed = vec![0.0; groups * 12];
            cache.attend(0, &[Reader { path: &path, length }], &queries, groups * 12, groups, &mut mixed);
            for head in 0..2 * groups {
                let key = head / groups;
                let slots: Vec<_> = (0..length).filter_map(|position| path.slot(position)).collect();
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
