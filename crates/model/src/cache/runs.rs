//! Attention of rows that follow one another in their sequences, on the matrix unit: prompts, where many rows look back on the same
//! keys. A row's result does not depend on which others are read with it. Knows places, no weights.
use super::{Cache, LANES, Plane, Reader};
use crate::train::attention::{KeysValues, Room, Run, Segment, Span, attend_run, fill};
use crate::train::tiles::{BLOCK, Unit};

impl Cache {
    /// What [`Cache::attend`] computes.
    #[expect(clippy::too_many_arguments, reason = "the unit and its room besides those of `attend`")]
    pub fn attend_runs(
        &self,
        unit: &Unit,
        layer: usize,
        readers: &[Reader<'_>],
        window: Option<usize>,
        (queries, stride): (&[f32], usize),
        mixed: &mut [f32],
        room: &mut Room,
    ) {
        let (heads, past) = (self.heads, Past { cache: self, plane: &self.layers[layer] });
        let (mut queries, mut mixed) = (queries, mixed);
        for readers in readers.chunk_by(follow) {
            let segment = segment(readers);
            for run in Run::all(&segment, window) {
                let (rows, rest) = mixed.split_at_mut(run.own.len * heads.mixed());
                for group in 0..heads.keys {
                    attend_run(unit, (heads, group), &run, (queries, stride), &past, (rows, None), room);
                }
                queries = queries.get(run.own.len * stride..).unwrap_or_default();
                mixed = rest;
            }
        }
    }
}

/// Whether one row stands right behind the other in a sequence.
fn follow(one: &Reader<'_>, next: &Reader<'_>) -> bool {
    std::ptr::eq(one.path, next.path)
        && one.position + 1 == next.position
        && one.path.slot(one.position).map(|slot| slot + 1) == next.path.slot(next.position)
}

/// Rows that follow one another as a branch.
fn segment(readers: &[Reader<'_>]) -> Segment {
    let Reader { path, position } = readers[0];
    let start = path.slot(position).expect("a row lies on its own path");
    let before = path.ranges(0, position).map(|range| Span { start: range.start, len: range.len() });
    Segment { own: Span { start, len: readers.len() }, before: before.collect() }
}

/// The keys and values of one layer.
struct Past<'a> {
    cache: &'a Cache,
    plane: &'a Plane,
}

impl KeysValues for Past<'_> {
    fn keys(&self, group: usize, places: &[usize], out: &mut Vec<f32>) {
        let width = self.cache.heads.width.next_multiple_of(BLOCK);
        out.clear();
        out.resize(places.len().next_multiple_of(BLOCK) * width, 0.0);
        let mut out = out.as_mut_slice();
        for places in places.chunk_by(|one, next| one + 1 == *next && !next.is_multiple_of(LANES)) {
            let (rows, rest) = out.split_at_mut(places.len() * width);
            for (d, keys) in self.plane.keys[self.cache.block(group, places[0])].iter().enumerate() {
                let keys = &keys.as_flattened()[places[0] % LANES..];
                rows[d..].iter_mut().step_by(width).zip(keys).for_each(|(to, from)| *to = *from);
            }
            out = rest;
        }
    }

    fn values(&self, group: usize, places: &[usize], out: &mut Vec<f32>) {
        let value = |place: &usize| &self.plane.values[self.cache.row(group, *place)];
        let values = places.iter().map(|place| &value(place).as_flattened().as_flattened()[..self.cache.heads.width]);
        fill(values, places.len(), out);
    }
}
