//! Keys and values of a batch of sequences, shared prefixes held once, and attention over them.
//!
//! Tokens of all sequences lie on one axis of slots. A sequence is a [`Path`]: the slots of its tokens in order, as ranges, so that
//! sequences with a common prefix name the same slots. Knows no weights and no token.
mod rows;
mod runs;

use std::ops::Range;

use crate::Config;
use crate::train::attention::Heads;

/// Slots whose keys lie together, transposed.
const LANES: usize = 32;
/// Numbers in lanes. Arrays of eight are what the compiler turns into vector registers of any width.
type Lanes = [[f32; 8]; LANES / 8];

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

/// A query row: whose, and where. It sees the tokens up to its own.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub path: &'a Path,
    pub position: usize,
}

/// Keys and values of all layers.
pub(crate) struct Cache {
    heads: Heads,
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

impl Cache {
    /// Room for `slots` tokens.
    pub fn new(config: &Config, slots: usize) -> Self {
        let heads = Heads::of(config);
        let (columns, blocks) = (heads.width.div_ceil(LANES), slots.div_ceil(LANES));
        let lanes = |count| vec![Lanes::default(); count];
        let plane = || Plane { keys: lanes(heads.keys * blocks * heads.width), values: lanes(heads.keys * blocks * LANES * columns) };
        Self { heads, columns, blocks, layers: (0..config.num_hidden_layers).map(|_| plane()).collect() }
    }

    /// Bytes that one slot takes.
    pub const fn bytes_per_slot(config: &Config) -> usize {
        let padded = config.head_dim.next_multiple_of(LANES);
        config.num_hidden_layers * config.num_key_value_heads * (config.head_dim + padded) * size_of::<f32>()
    }

    /// Stores the keys and values (all heads side by side) of the token in `slot`.
    pub fn write(&mut self, layer: usize, slot: usize, keys: &[f32], values: &[f32]) {
        let width = self.heads.width;
        for head in 0..self.heads.keys {
            let (keys, values) = (&keys[head * width..], &values[head * width..][..width]);
            let (block, row) = (self.block(head, slot), self.row(head, slot));
            let plane = &mut self.layers[layer];
            for (to, from) in plane.keys[block].iter_mut().zip(keys) {
                to.as_flattened_mut()[slot % LANES] = *from;
            }
            plane.values[row].as_flattened_mut().as_flattened_mut()[..width].copy_from_slice(values);
        }
    }

    /// Where the keys of a head lie that are with that of `slot`.
    fn block(&self, head: usize, slot: usize) -> Range<usize> {
        let start = (head * self.blocks + slot / LANES) * self.heads.width;
        start..start + self.heads.width
    }

    /// Where the value of a head lies.
    fn row(&self, head: usize, slot: usize) -> Range<usize> {
        let start = (head * self.blocks * LANES + slot) * self.columns;
        start..start + self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, Path, Reader};
    use crate::Config;
    use crate::train::tiles::Unit;

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

    fn number(i: usize) -> f32 {
        ((i * 7919) % 101) as f32 / 40.0 - 1.2
    }

    /// Two key heads of six numbers with `groups` query heads to each, and what lies in every slot.
    fn filled(groups: usize, slots: usize) -> (Cache, Vec<Vec<f32>>) {
        let text = format!(
            r#"{{"model_type": "llama", "vocab_size": 1, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": {}, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 999, "rms_norm_eps": 1e-5}}"#,
            2 * groups
        );
        let config = Config::from_json(text.as_bytes(), "test").expect("a small configuration");
        let mut cache = Cache::new(&config, slots);
        let rows: Vec<Vec<f32>> = (0..slots).map(|slot| (0..24).map(|j| number(slot * 24 + j)).collect()).collect();
        for (slot, row) in rows.iter().enumerate() {
            cache.write(0, slot, &row[..12], &row[12..]);
        }
        (cache, rows)
    }

    /// Attention by its definition in f64 against scattered slots, for every group size, with and without a window.
    #[test]
    fn attention_over_a_scattered_path_is_attention() {
        let mut path = Path::default();
        [3..20, 40..41, 62..110].into_iter().for_each(|range| path.push(range));
        let length = 60;
        for (groups, window) in [(1, None), (2, Some(200)), (3, Some(45)), (4, Some(3)), (5, None)] {
            let (cache, rows) = filled(groups, 120);
            let queries: Vec<f32> = (0..groups * 12).map(|i| number(i + 5)).collect();
            let mut mixed = vec![0.0; groups * 12];
            let reader = Reader { path: &path, position: length - 1 };
            cache.attend(0, &[reader], window, (&queries, groups * 12), &mut mixed);
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

    /// Two branches that share a beginning, their rows read in passes that begin and end anywhere.
    #[test]
    fn runs_on_the_unit_are_rows() {
        let Some(unit) = Unit::begin() else {
            println!("no matrix unit here: nothing to test");
            return;
        };
        let (mut long, mut branch) = (Path::default(), Path::default());
        long.push(0..300);
        branch.push(0..70);
        branch.push(300..420);
        let readers = |range: std::ops::Range<usize>| range.map(|slot| if slot < 300 { (&long, slot) } else { (&branch, slot - 230) });
        for (groups, window) in [(1, None), (3, Some(75)), (5, None), (3, Some(2))] {
            let (cache, stride) = (filled(groups, 420).0, groups * 12 + 7);
            let queries: Vec<f32> = (0..420 * stride).map(|i| number(i + 5)).collect();
            let read = |pass: usize, unit: Option<&Unit>| {
                let mut mixed = vec![0.0; 420 * groups * 12];
                for (start, mixed) in (0..420).step_by(pass).zip(mixed.chunks_mut(pass * groups * 12)) {
                    let readers: Vec<_> = readers(start..420.min(start + pass)).map(|(path, position)| Reader { path, position }).collect();
                    let queries = (&queries[start * stride..], stride);
                    match unit {
                        Some(unit) => cache.attend_runs(unit, 0, &readers, window, queries, mixed, &mut Default::default()),
                        None => cache.attend(0, &readers, window, queries, mixed),
                    }
                }
                mixed
            };
            let (rows, runs) = (read(420, None), read(420, Some(&unit)));
            assert!(rows.iter().zip(&runs).all(|(one, other)| (one - other).abs() < 2e-6));
            // the same bits, wherever a pass begins
            assert!([1, 50, 200].into_iter().all(|pass| read(pass, Some(&unit)) == runs));
        }
    }
}
