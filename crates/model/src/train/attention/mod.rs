//! Causal attention with grouped keys, forward and backward, tile by tile: no T × T matrix is ever kept.
//! Knows rotated queries, keys and values, packed or, forward on the matrix unit, wherever a caller keeps them, of which some rows belong
//! to several sequences; positions are already in them.
mod back;
mod forward;
mod room;
mod run;
mod unit;

pub(super) use back::{Attended, LISTS, Parts, attend_back};
pub(super) use forward::attend;
pub(crate) use run::{Run, Segment, Span};
pub(crate) use unit::{KeysValues, Room, attend_run, fill}; // the forward-only decoder keeps keys and values elsewhere

use super::Precision;
use super::float::Float;
use crate::Config;

/// Where heads lie in a row of queries, keys and values, and what they see.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
    /// Factor on scores; 1 / √width if none.
    pub scale: Option<f64>,
    /// Positions that a row sees, its own among them; all up to its own if none.
    pub window: Option<usize>,
    /// Of products on a matrix unit.
    pub precision: Precision,
}

impl Heads {
    /// Those of a model, with no window, in f32.
    pub const fn of(config: &Config) -> Self {
        let (queries, keys) = (config.num_attention_heads, config.num_key_value_heads);
        Self { queries, keys, width: config.head_dim, scale: config.attention_scale, window: None, precision: Precision::F32 }
    }

    /// Width of a row: queries, keys, values.
    pub fn row(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }

    /// Width of a row of results.
    pub fn mixed(self) -> usize {
        self.queries * self.width
    }

    /// First columns of the query, key and value of query head `head`.
    fn columns(self, head: usize) -> (usize, usize, usize) {
        let group = head * self.keys / self.queries;
        (head * self.width, (self.queries + group) * self.width, (self.queries + self.keys + group) * self.width)
    }

    /// The query heads of a group that shares keys.
    fn group(self, group: usize) -> std::ops::Range<usize> {
        let shared = self.queries / self.keys;
        group * shared..(group + 1) * shared
    }

    /// Factor on scores.
    pub fn scale<F: Float>(self) -> F {
        self.scale.map_or_else(|| F::ONE / F::from_f64(self.width as f64).sqrt(), F::from_f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attended, Heads, Parts, Segment, Span, attend, attend_back};
    use crate::train::Precision;
    use crate::train::differences::{agree, wave};
    use crate::train::float::Float;

    #[test]
    fn attention_agrees_with_finite_differences_over_blocks_and_branches() {
        let heads = Heads { queries: 4, keys: 2, width: 2, scale: None, window: None, precision: Precision::F32 };
        check(heads);
        // a window that is wider than a block, one within it, one row
        for window in [66, 3, 1] {
            check(Heads { window: Some(window), scale: Some(0.3), ..heads });
        }
    }

    fn check(heads: Heads) {
        let span = |start, len| Span { start, len };
        // the third branch leaves the first after two rows and then the second after one
        let segments = [
            Segment { own: span(0, 65), before: vec![] },
            Segment { own: span(65, 2), before: vec![span(0, 2)] },
            Segment { own: span(67, 3), before: vec![span(0, 2), span(65, 1)] },
        ];
        let forward = |qkv: &[f64]| {
            let (mut mixed, mut norms) = (vec![0.0; 70 * heads.mixed()], vec![0.0; 70 * 4]);
            attend(heads, (&segments, None), qkv, (&mut mixed, &mut norms), false);
            (mixed, norms)
        };
        let (qkv, pull) = (wave(70 * heads.row(), 1), wave(70 * heads.mixed(), 2));
        let (mixed, norms) = forward(&qkv);
        let mut parts = Parts::default();
        for wide in [false, true] {
            let mut dqkv = vec![1.0; qkv.len()];
            let kept = Attended { qkv: &qkv, mixed: &mixed, norms: &norms };
            attend_back(heads, (&segments, None), kept, &pull, (&mut dqkv, &mut parts), wide);
            agree(&qkv, &dqkv, &pull, |qkv| forward(qkv).0);
        }
        // a row of a branch gets what it would get in a sequence of its own
        let path: Vec<usize> = [0, 1, 65, 67, 68, 69].into();
        let alone: Vec<f64> = path.iter().flat_map(|at| qkv[at * heads.row()..][..heads.row()].iter().copied()).collect();
        let (mut single, mut norms) = (vec![0.0; path.len() * heads.mixed()], vec![0.0; path.len() * 4]);
        attend(heads, (&[Segment { own: span(0, path.len()), before: vec![] }], None), &alone, (&mut single, &mut norms), true);
        // and a row what the definition says
        let slow = |row: usize, column: usize| {
            let (q, k, v) = heads.columns(column / heads.width);
            let from = heads.window.map_or(0, |window| (row + 1).saturating_sub(window));
            let value = |row: usize, column: usize| alone[row * heads.row() + column];
            let weight = |key: usize| {
                let dot: f64 = (0..heads.width).map(|i| value(row, q + i) * value(key, k + i)).sum();
                (dot * heads.scale::<f64>()).exp()
            };
            let sum: f64 = (from..=row).map(weight).sum();
            (from..=row).map(|key| weight(key) / sum * value(key, v + column % heads.width)).sum::<f64>()
        };
        for (row, at) in path.iter().enumerate() {
            for column in 0..heads.mixed() {
                assert!((single[row * heads.mixed() + column] - mixed[at * heads.mixed() + column]).abs() < 1e-14);
                assert!((single[row * heads.mixed() + column] - slow(row, column)).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn single_precision_is_near_double_and_half_not_far() {
        // widths and groups that fill no tile, and such that do
        for (queries, keys, width) in [(3, 1, 6), (4, 4, 40), (6, 2, 64)] {
            for window in [None, Some(70)] {
                let heads = Heads { queries, keys, width, scale: None, window, precision: Precision::F32 };
                near(heads, (1e-6, 5e-6));
                // 8 bits of significand are kept
                near(Heads { precision: Precision::Bf16, ..heads }, (4e-3, 8e-3));
            }
        }
    }

    fn near(heads: Heads, bounds: (f64, f64)) {
        let span = |start, len| Span { start, len };
        let segments = [Segment { own: span(0, 300), before: vec![] }, Segment { own: span(300, 70), before: vec![span(0, 165)] }];
        let (rows, single) = (370, |values: &[f64]| -> Vec<f32> { values.iter().map(|x| *x as f32).collect() });
        let qkv: Vec<f64> = wave(rows * heads.row(), 1).into_iter().map(|x| f64::from((2.0 * x) as f32)).collect();
        let pull: Vec<f64> = wave(rows * heads.mixed(), 2).into_iter().map(|x| f64::from(x as f32)).collect();
        let (mixed, dqkv) = run(heads, (&segments, None), &qkv, &pull, true);
        let (found, dfound) = run(heads, (&segments, None), &single(&qkv), &single(&pull), true);
        let distance = |found: &[f32], right: &[f64]| {
            let square = |sum: f64, x: f64| sum + x * x;
            let off = found.iter().zip(right).map(|(a, b)| f64::from(*a) - b).fold(0.0, square);
            (off / right.iter().copied().fold(0.0, square)).sqrt()
        };
        let distances = (distance(&found, &mixed), distance(&dfound, &dqkv));
        assert!(distances.0 < bounds.0 && distances.1 < bounds.1, "{distances:?} of {bounds:?}");
    }

    #[test]
    fn rows_that_nobody_asks_for_are_left_out() {
        let span = |start, len| Span { start, len };
        let segments = [Segment { own: span(0, 600), before: vec![] }, Segment { own: span(600, 70), before: vec![span(0, 165)] }];
        for window in [None, Some(70)] {
            let heads = Heads { queries: 4, keys: 2, width: 2, scale: None, window, precision: Precision::F32 };
            let qkv = wave(670 * heads.row(), 1);
            for asked in [&[590][..], &[3, 10, 669]] {
                let mut pull = vec![0.0; 670 * heads.mixed()];
                let columns = |row: &usize| row * heads.mixed()..(row + 1) * heads.mixed();
                asked.iter().for_each(|row| pull[columns(row)].copy_from_slice(&wave(heads.mixed(), *row)));
                let (mixed, dqkv) = run(heads, (&segments, None), &qkv, &pull, false);
                let (found, dfound) = run(heads, (&segments, Some(asked)), &qkv, &pull, false);
                assert!(asked.iter().all(|row| found[columns(row)] == mixed[columns(row)]));
                assert_eq!(dfound, dqkv);
                assert!(found[columns(&300)].iter().all(|x| x.is_nan()), "a run that nobody asks for is not computed");
            }
        }
    }

    fn run<F: Float>(heads: Heads, tree: (&[Segment], Option<&[usize]>), qkv: &[F], pull: &[F], wide: bool) -> (Vec<F>, Vec<F>) {
        let (rows, unset) = (qkv.len() / heads.row(), F::from_f64(f64::NAN));
        let (mut mixed, mut norms) = (vec![unset; rows * heads.mixed()], vec![unset; rows * heads.queries]);
        attend(heads, tree, qkv, (&mut mixed, &mut norms), wide);
        let mut dqkv = vec![unset; qkv.len()];
        let kept = Attended { qkv, mixed: &mixed, norms: &norms };
        attend_back(heads, tree, kept, pull, (&mut dqkv, &mut Parts::default()), wide);
        (mixed, dqkv)
    }
}
