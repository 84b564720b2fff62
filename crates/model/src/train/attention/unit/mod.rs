//! Attention on the matrix unit: scores lie keys × queries, so that weights become factors without being turned, and each lane of a
//! vector is a query of its own. Knows runs of rows; every matrix is filled up with zeros to whole tiles.
mod back;
mod forward;

pub(super) use back::back_run;
pub(super) use forward::Packed;
pub(crate) use forward::{KeysValues, attend_run};

use super::Heads;
use super::room::across;
use super::run::{Run, Sight};
use crate::train::Precision;
use crate::train::tiles::{BLOCK, Factor};

/// Keys that are taken at once. All queries of a run look at them before the next ones come, so that both stay in the second cache.
pub(super) const TILE: usize = 2 * BLOCK;

/// A value for each query of a panel.
type Lanes = [f32; BLOCK];

/// Buffers of a run.
#[derive(Default)]
pub(crate) struct Room {
    rows: Vec<f32>,
    turned: Vec<f32>,
    blocks: Vec<Queries>,
    tile: Tile,
}

/// What belongs to a tile of keys.
#[derive(Default)]
struct Tile {
    /// Which key is the first, and how many there are, filled up.
    keys_at: (usize, usize),
    keys: Factor,
    keys_across: Factor,
    values: Factor,
    dkeys: Vec<f32>,
    dvalues: Vec<f32>,
    scores: Vec<f32>,
    slopes: Vec<f32>,
    weights: Factor,
    slopes_left: Factor,
    /// Weights on the way forward, gradients of scores on the way back.
    rights: Factor,
}

/// What belongs to the queries of a block, the heads of a group one after the other.
#[derive(Default)]
struct Queries {
    /// Queries, and what is pulled at their results, as factors of products over their width and over themselves.
    queries: Factor,
    queries_down: Factor,
    pulls: Factor,
    pulls_down: Factor,
    /// Results or their gradients: panels of width × 32 queries.
    out: Vec<f32>,
    /// For each panel: the greatest score, or the log of the softmax's denominator.
    tops: Vec<Lanes>,
    /// For each panel: sums of weights, or of weighted gradients.
    sums: Vec<Lanes>,
}

impl Queries {
    /// Takes queries × width, with nothing known of their results.
    fn begin(&mut self, rows: &[f32], width: usize, precision: Precision, turned: &mut Vec<f32>) {
        let queries = rows.len() / width;
        across(rows, queries, turned);
        self.queries.fill_right(turned, queries, precision);
        self.out.clear();
        self.out.resize(rows.len(), 0.0);
        for (lanes, value) in [(&mut self.tops, f32::MIN), (&mut self.sums, 0.0)] {
            lanes.clear();
            lanes.resize(queries / BLOCK, [value; BLOCK]);
        }
    }

    /// [`Queries::out`] as queries × width.
    fn rows(&self, width: usize, turned: &mut Vec<f32>, rows: &mut Vec<f32>) {
        rows.clear();
        for panel in self.out.chunks_exact(width * BLOCK) {
            across(panel, width, turned);
            rows.extend_from_slice(turned);
        }
    }
}

/// The rows of the keys that a run sees, in order.
fn places(run: &Run<'_>) -> Vec<usize> {
    run.path().flat_map(|span| span.start..span.start + span.len).collect()
}

/// `width` columns from `column` on of rows that are `row` apart: rows × width, filled up.
fn along(places: &[usize], values: &[f32], row: usize, (column, width): (usize, usize), out: &mut Vec<f32>) {
    fill(places.iter().map(|place| &values[place * row + column..][..width]), places.len(), out);
}

/// The columns of a group's heads of `count` rows, `row` apart, head after head: queries × width, filled up.
fn gather(heads: Heads, group: usize, values: &[f32], row: usize, count: usize, out: &mut Vec<f32>) {
    let members = heads.group(group);
    let all = members.len() * count;
    let places = members.flat_map(|head| (0..count).map(move |i| i * row + head * heads.width));
    fill(places.map(|at| &values[at..][..heads.width]), all, out);
}

/// Rows one behind the other, each and all of them filled up to whole blocks.
pub(crate) fn fill<'a>(rows: impl Iterator<Item = &'a [f32]>, count: usize, out: &mut Vec<f32>) {
    out.clear();
    for row in rows {
        out.extend_from_slice(row);
        out.resize(out.len().next_multiple_of(BLOCK), 0.0);
    }
    out.resize(out.len() / count * count.next_multiple_of(BLOCK), 0.0);
}

/// What the queries of a panel see of a tile.
#[derive(Clone, Copy)]
struct Mask {
    sight: Sight,
    /// Which of its head's queries each column is.
    queries: [u32; BLOCK],
    /// Whether anything is not seen.
    partial: bool,
}

impl Mask {
    /// For a tile of `keys` keys and queries of which each head has `count`.
    fn new(sight: Sight, keys: usize, count: usize, panel: usize) -> Self {
        let partial = sight.of_key(keys - 1).0 > 0 || sight.of_key(0).1 < count;
        Self { sight, queries: std::array::from_fn(|column| ((panel * BLOCK + column) % count) as u32), partial }
    }

    /// Sets what is not seen of the row of key `key`.
    #[inline(always)]
    fn set(&self, key: usize, row: &mut Lanes, value: f32) {
        if self.partial {
            let (from, end) = self.sight.of_key(key);
            for (x, query) in row.iter_mut().zip(self.queries) {
                *x = if query >= from as u32 && query < end as u32 { *x } else { value };
            }
        }
    }
}

/// [`Float::exp`](crate::train::float::Float::exp) of what is not far above zero, fused: vectors that have no such instruction have no
/// matrix unit.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // adding 1.5·2^23 rounds to an integer and leaves it in the low bits
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    let p = 1.987_569_1e-4_f32.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn the_fused_exponential_is_within_two_ulp() {
        for i in -870_000..10_000_i32 {
            let x = f64::from(i) as f32 * 1e-4;
            let (found, right) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / right - 1.0).abs() < 2.4e-7, "exp({x}) = {found}, not {right}");
        }
        assert!(exp(f32::MIN) < 1.7e-38 && exp(f32::NAN).is_nan());
    }
}
