//! Factors that change from product to product, cut into their pieces and laid out for the unit. Knows layouts, no sums.
use super::super::Precision;
use super::super::matmul::Old;
use super::super::vector::{Kernel, dispatch};
use super::unit::{BLOCK, ROWS, Row, STEP, Unit};

/// Values of the inner dimension in a step.
pub(crate) const INNER: usize = 32;

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

/// The nearest float of 16 bits, in the upper half.
#[inline(always)]
pub(super) fn near(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000
}

/// A row of each piece of a step of three.
#[inline(always)]
fn thirds(step: &mut [Row], row: usize) -> [&mut Row; 3] {
    let (first, rest) = step.split_at_mut(STEP);
    let (second, last) = rest.split_at_mut(STEP);
    [&mut first[row], &mut second[row], &mut last[row]]
}

/// One row of a step of a left factor of one piece or three; a constant, because nothing here may branch.
#[inline(always)]
pub(crate) fn put_left<const PIECES: usize>(step: &mut [Row], row: usize, values: &[f32; INNER]) {
    if PIECES == 1 {
        let mut pieces = [0; INNER];
        for i in 0..INNER {
            pieces[i] = (near(values[i]) >> 16) as u16;
        }
        step[row] = Row(pieces);
        return;
    }
    let [first, second, last] = thirds(step, row);
    for (i, value) in values.iter().enumerate() {
        let pieces = cut(*value).map(|piece| (piece >> 16) as u16);
        (first.0[i], second.0[i], last.0[i]) = (pieces[0], pieces[1], pieces[2]);
    }
}

/// Two rows of a step of a right factor of one piece or three.
#[inline(always)]
pub(crate) fn put_right<const PIECES: usize>(step: &mut [Row], pair: usize, upper: &[f32; BLOCK], lower: &[f32; BLOCK]) {
    for tile in 0..2 {
        if PIECES == 1 {
            let mut pairs = [0; ROWS];
            for i in 0..ROWS {
                pairs[i] = near(upper[tile * ROWS + i]) >> 16 | near(lower[tile * ROWS + i]);
            }
            *step[tile * ROWS + pair].pairs() = pairs;
            continue;
        }
        let [first, second, last] = thirds(step, tile * ROWS + pair).map(Row::pairs);
        for i in 0..ROWS {
            let (upper, lower) = (cut(upper[tile * ROWS + i]), cut(lower[tile * ROWS + i]));
            first[i] = upper[0] >> 16 | lower[0];
            second[i] = upper[1] >> 16 | lower[1];
            last[i] = upper[2] >> 16 | lower[2];
        }
    }
}

/// Some steps of a factor.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a>(&'a [Row], Precision);

/// A left factor by blocks of 32 rows or a right one by panels of 32 columns, each by steps of 32 of the inner dimension.
#[derive(Debug, Default)]
pub(crate) struct Factor {
    rows: Vec<Row>,
    steps: usize,
    precision: Precision,
}

impl Factor {
    /// Makes room for so many blocks or panels of so many steps.
    pub fn fit(&mut self, parts: usize, steps: usize, precision: Precision) {
        (self.steps, self.precision) = (steps, precision);
        self.rows.resize(parts * steps * self.step(), Row([0; 32]));
    }

    /// Lays out a left factor of whole blocks and steps, `inner` wide.
    pub fn fill_left(&mut self, matrix: &[f32], inner: usize, precision: Precision) {
        assert!(inner.is_multiple_of(INNER) && matrix.len().is_multiple_of(inner * BLOCK), "whole blocks and steps");
        self.fit(matrix.len() / inner / BLOCK, inner / INNER, precision);
        left(precision, (matrix, inner, 0), (&mut self.rows, self.steps));
    }

    /// Lays out a right factor of whole steps and panels, `columns` wide.
    pub fn fill_right(&mut self, matrix: &[f32], columns: usize, precision: Precision) {
        assert!(columns.is_multiple_of(BLOCK) && matrix.len().is_multiple_of(columns * INNER), "whole steps and panels");
        self.fit(columns / BLOCK, matrix.len() / columns / INNER, precision);
        let arguments = ((matrix, columns), (self.rows.as_mut_slice(), self.steps));
        match precision {
            Precision::F32 => dispatch::<_, Right<3>>(arguments),
            Precision::Bf16 => dispatch::<_, Right<1>>(arguments),
        }
    }

    /// Rows of a step.
    fn step(&self) -> usize {
        self.precision.pieces().count() * STEP
    }

    /// Some steps of a block or panel.
    pub fn part(&self, part: usize, steps: std::ops::Range<usize>) -> Steps<'_> {
        let at = |step: usize| (part * self.steps + step) * self.step();
        Steps(&self.rows[at(steps.start)..at(steps.end)], self.precision)
    }

    /// All steps of a block or panel.
    pub fn whole(&self, part: usize) -> Steps<'_> {
        self.part(part, 0..self.steps)
    }

    /// A step of a block or panel, for [`put_left`] or [`put_right`].
    pub fn step_mut(&mut self, part: usize, step: usize) -> &mut [Row] {
        let rows = self.step();
        &mut self.rows[(part * self.steps + step) * rows..][..rows]
    }
}

/// The product of a block of a left factor with a panel of a right one of the same precision: 32 × 32, written to `out`, whose rows are
/// `stride` apart, or added to what is there.
pub(crate) fn multiply(unit: &Unit, left: Steps<'_>, right: Steps<'_>, (out, stride): (&mut [f32], usize), old: Old) {
    unit.multiply((left.0, left.1), (right.0, right.1.pieces()), (out, stride), old == Old::Add, right.0.as_ptr());
}

/// Where pieces go: so many steps for each block or panel.
type Target<'a> = (&'a mut [Row], usize);

/// Cuts rows of a left factor, `inner` wide, into pieces, from their value `first` on.
pub(super) fn left(precision: Precision, (x, inner, first): (&[f32], usize, usize), target: Target<'_>) {
    match precision {
        Precision::F32 => dispatch::<_, Left<3>>(((x, inner, first), target)),
        Precision::Bf16 => dispatch::<_, Left<1>>(((x, inner, first), target)),
    }
}

struct Left<const PIECES: usize>;

impl<'a, const PIECES: usize> Kernel<((&'a [f32], usize, usize), Target<'a>)> for Left<PIECES> {
    type Output = ();
    #[inline(always)]
    fn run(((x, inner, first), (lefts, steps)): ((&'a [f32], usize, usize), Target<'a>)) {
        let size = PIECES * STEP;
        for (i, x) in x.chunks_exact(inner).enumerate() {
            let block = &mut lefts[i / BLOCK * steps * size..][..steps * size];
            let from = &x[first..inner.min(first + steps * INNER)];
            for (step, values) in from.chunks(INNER).enumerate() {
                // of known length almost always, or each copy is a call
                let values = values.try_into().unwrap_or_else(|_| {
                    let mut padded = [0.0; INNER];
                    padded[..values.len()].copy_from_slice(values);
                    padded
                });
                put_left::<PIECES>(&mut block[step * size..][..size], i % BLOCK, &values);
            }
        }
    }
}

/// Cuts a right factor into pieces.
struct Right<const PIECES: usize>;

impl<'a, const PIECES: usize> Kernel<((&'a [f32], usize), Target<'a>)> for Right<PIECES> {
    type Output = ();
    #[inline(always)]
    fn run(((matrix, columns), (rights, steps)): ((&'a [f32], usize), Target<'a>)) {
        let size = PIECES * STEP;
        for (i, two) in matrix.chunks_exact(2 * columns).enumerate() {
            let (upper, lower) = two.split_at(columns);
            let (step, pair) = (i / ROWS, i % ROWS);
            for (panel, (upper, lower)) in upper.as_chunks().0.iter().zip(lower.as_chunks().0).enumerate() {
                put_right::<PIECES>(&mut rights[(panel * steps + step) * size..][..size], pair, upper, lower);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::matmul::Old;
    use super::{Factor, Precision, Unit, cut, multiply, near};
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
        let near = |values: &[f32]| values.iter().map(|x| f32::from_bits(near(*x))).collect();
        for (precision, seen) in [(Precision::F32, [left.clone(), right.clone()]), (Precision::Bf16, [near(&left), near(&right)])] {
            let (mut lefts, mut rights) = (Factor::default(), Factor::default());
            lefts.fill_left(&left, 128, precision);
            rights.fill_right(&right, 96, precision);
            let mut out = vec![1.0; 32 * 96];
            multiply(&unit, lefts.part(1, 2..4), rights.whole(2), (&mut out[64..], 96), Old::Add);
            for (i, row) in out.chunks_exact(96).enumerate() {
                for (j, found) in row.iter().enumerate() {
                    let terms = (0..64).map(|k| f64::from(seen[0][(32 + i) * 128 + 64 + k]) * f64::from(seen[1][k * 96 + j]));
                    let (sum, size) = terms.fold((1.0, 1.0), |(sum, size), term| (sum + term, size + term.abs()));
                    let sum = if j < 64 { 1.0 } else { sum };
                    assert!((f64::from(*found) - sum).abs() < 4e-7 * size);
                }
            }
        }
    }

    #[test]
    fn one_piece_is_the_nearest() {
        for x in singles(10_000, 3).into_iter().chain([0.0, -0.0, 1e-30, -1e30]) {
            assert_eq!(f32::from_bits(near(x)), half::bf16::from_f32(x).to_f32());
        }
        assert!(f32::from_bits(near(f32::NAN)).is_nan(), "nothing hides what is no number");
    }
}
