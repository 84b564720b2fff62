//! Factors that change from product to product, cut into three pieces and laid out for the unit. Knows layouts, no sums.
use super::super::matmul::Old;
use super::super::vector::{Kernel, dispatch};
use super::unit::{BLOCK, Pieces, ROWS, Row, STEP, Unit};

/// Values of the inner dimension in a step.
pub(crate) const INNER: usize = 32;

/// Rows of three pieces in a step.
const PIECES: usize = 3 * STEP;

/// The first 8 bits of a significand, the next, and the last, which together are the whole of it, each in the upper half; cutting costs
/// less than rounding to the nearest.
#[inline(always)]
fn cut(x: f32) -> [u32; 3] {
    const UPPER: u32 = 0xffff_0000;
    let first = x.to_bits() & UPPER;
    let rest = x - f32::from_bits(first);
    let second = rest.to_bits() & UPPER;
    [first, second, (rest - f32::from_bits(second)).to_bits() & UPPER]
}

/// A row of each piece of a step.
#[inline(always)]
fn thirds(step: &mut [Row], row: usize) -> [&mut Row; 3] {
    let (first, rest) = step.split_at_mut(STEP);
    let (second, last) = rest.split_at_mut(STEP);
    [&mut first[row], &mut second[row], &mut last[row]]
}

/// One row of a step of a left factor.
#[inline(always)]
pub(crate) fn put_left(step: &mut [Row], row: usize, values: &[f32; INNER]) {
    let [first, second, last] = thirds(step, row);
    for (i, value) in values.iter().enumerate() {
        let pieces = cut(*value).map(|piece| (piece >> 16) as u16);
        (first.0[i], second.0[i], last.0[i]) = (pieces[0], pieces[1], pieces[2]);
    }
}

/// Two rows of a step of a right factor.
#[inline(always)]
pub(crate) fn put_right(step: &mut [Row], pair: usize, upper: &[f32; BLOCK], lower: &[f32; BLOCK]) {
    for tile in 0..2 {
        let [first, second, last] = thirds(step, tile * ROWS + pair).map(Row::pairs);
        for i in 0..ROWS {
            let (upper, lower) = (cut(upper[tile * ROWS + i]), cut(lower[tile * ROWS + i]));
            first[i] = upper[0] >> 16 | lower[0];
            second[i] = upper[1] >> 16 | lower[1];
            last[i] = upper[2] >> 16 | lower[2];
        }
    }
}

/// Some steps of a factor of three pieces.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a>(&'a [Row]);

/// A left factor by blocks of 32 rows, each by steps of 32 of the inner dimension.
#[derive(Debug, Default)]
pub(crate) struct Lefts {
    rows: Vec<Row>,
    steps: usize,
}

impl Lefts {
    /// Makes room for so many blocks of so many steps.
    pub fn fit(&mut self, blocks: usize, steps: usize) {
        self.steps = steps;
        self.rows.resize(blocks * steps * PIECES, Row([0; 32]));
    }

    /// Lays out a matrix of whole blocks and steps, `inner` wide.
    pub fn fill(&mut self, matrix: &[f32], inner: usize) {
        assert!(inner.is_multiple_of(INNER) && matrix.len().is_multiple_of(inner * BLOCK), "whole blocks and steps");
        self.fit(matrix.len() / inner / BLOCK, inner / INNER);
        dispatch::<_, Left>((matrix, inner, 0, self.rows.as_mut_slice(), self.steps));
    }

    /// Some steps of a block.
    pub fn part(&self, block: usize, steps: std::ops::Range<usize>) -> Steps<'_> {
        Steps(&self.rows[(block * self.steps + steps.start) * PIECES..(block * self.steps + steps.end) * PIECES])
    }

    /// A step of a block, for [`put_left`].
    pub fn step_mut(&mut self, block: usize, step: usize) -> &mut [Row] {
        &mut self.rows[(block * self.steps + step) * PIECES..][..PIECES]
    }
}

/// A right factor by panels of 32 columns, each by steps of 32 of the inner dimension.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    rows: Vec<Row>,
    steps: usize,
}

impl Rights {
    /// Makes room for so many panels of so many steps.
    pub fn fit(&mut self, panels: usize, steps: usize) {
        self.steps = steps;
        self.rows.resize(panels * steps * PIECES, Row([0; 32]));
    }

    /// Lays out a matrix of whole steps and panels, `columns` wide.
    pub fn fill(&mut self, matrix: &[f32], columns: usize) {
        assert!(columns.is_multiple_of(BLOCK) && matrix.len().is_multiple_of(columns * INNER), "whole steps and panels");
        self.fit(columns / BLOCK, matrix.len() / columns / INNER);
        dispatch::<_, Right>((matrix, columns, self.rows.as_mut_slice(), self.steps));
    }

    /// A panel with all its steps.
    pub fn panel(&self, panel: usize) -> Steps<'_> {
        Steps(&self.rows[panel * self.steps * PIECES..][..self.steps * PIECES])
    }

    /// A step of a panel, for [`put_right`].
    pub fn step_mut(&mut self, panel: usize, step: usize) -> &mut [Row] {
        &mut self.rows[(panel * self.steps + step) * PIECES..][..PIECES]
    }
}

/// The product of a block of a left factor with a panel of a right one: 32 × 32, written to `out`, whose rows are `stride` apart, or
/// added to what is there.
pub(crate) fn multiply(unit: &Unit, left: Steps<'_>, right: Steps<'_>, (out, stride): (&mut [f32], usize), old: Old) {
    unit.multiply((left.0, right.0, Pieces::Three), (out, stride), old == Old::Add, right.0.as_ptr());
}

/// Cuts rows of a left factor into pieces.
pub(super) struct Left;

impl<'a> Kernel<(&'a [f32], usize, usize, &'a mut [Row], usize)> for Left {
    type Output = ();
    #[inline(always)]
    fn run((x, inner, first, lefts, steps): (&'a [f32], usize, usize, &'a mut [Row], usize)) {
        for (i, x) in x.chunks_exact(inner).enumerate() {
            let block = &mut lefts[i / BLOCK * steps * PIECES..][..steps * PIECES];
            let from = &x[first..inner.min(first + steps * INNER)];
            for (step, values) in from.chunks(INNER).enumerate() {
                // of known length almost always, or each copy is a call
                let values = values.try_into().unwrap_or_else(|_| {
                    let mut padded = [0.0; INNER];
                    padded[..values.len()].copy_from_slice(values);
                    padded
                });
                put_left(&mut block[step * PIECES..][..PIECES], i % BLOCK, &values);
            }
        }
    }
}

/// Cuts a right factor into pieces.
struct Right;

impl<'a> Kernel<(&'a [f32], usize, &'a mut [Row], usize)> for Right {
    type Output = ();
    #[inline(always)]
    fn run((matrix, columns, rights, steps): (&'a [f32], usize, &'a mut [Row], usize)) {
        for (i, two) in matrix.chunks_exact(2 * columns).enumerate() {
            let (upper, lower) = two.split_at(columns);
            let (step, pair) = (i / ROWS, i % ROWS);
            for (panel, (upper, lower)) in upper.as_chunks().0.iter().zip(lower.as_chunks().0).enumerate() {
                put_right(&mut rights[(panel * steps + step) * PIECES..][..PIECES], pair, upper, lower);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::matmul::Old;
    use super::{Lefts, Rights, Unit, cut, multiply};
    use crate::train::differences::wave;

    fn singles(count: usize, seed: usize) -> Vec<f32> {
        wave(count, seed).into_iter().map(|x| x as f32).collect()
    }

    #[test]
    fn three_pieces_are_the_whole_value() {
        for x in singles(10_000, 1).into_iter().chain([0.0, -0.0, 1e-30, -1e30, 1.0 - f32::EPSILON, 2.0 - f32::EPSILON, 1.0 / 3.0]) {
            assert_eq!(cut(x).iter().map(|piece| f64::from(f32::from_bits(*piece))).sum::<f64>(), f64::from(x));
        }
        assert!(cut(f32::NAN).iter().any(|piece| f32::from_bits(*piece).is_nan()), "nothing hides what is no number");
    }

    #[test]
    fn a_part_of_a_left_factor_times_a_panel_of_a_right_one() {
        let Some(unit) = Unit::begin() else { return println!("no matrix unit here: nothing to test") };
        let (left, right) = (singles(96 * 128, 1), singles(64 * 96, 2));
        let (mut lefts, mut rights) = (Lefts::default(), Rights::default());
        lefts.fill(&left, 128);
        rights.fill(&right, 96);
        let mut out = vec![1.0; 32 * 96];
        multiply(&unit, lefts.part(1, 2..4), rights.panel(2), (&mut out[64..], 96), Old::Add);
        for (i, row) in out.chunks_exact(96).enumerate() {
            for (j, found) in row.iter().enumerate() {
                let terms = (0..64).map(|k| f64::from(left[(32 + i) * 128 + 64 + k]) * f64::from(right[k * 96 + j]));
                let (sum, size) = terms.fold((1.0, 1.0), |(sum, size), term| (sum + term, size + term.abs()));
                let sum = if j < 64 { 1.0 } else { sum };
                assert!((f64::from(*found) - sum).abs() < 4e-7 * size);
            }
        }
    }
}
