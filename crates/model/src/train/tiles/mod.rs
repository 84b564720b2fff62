//! Products with a frozen f32 matrix on the matrix unit, which multiplies 16-bit floats only, with the accuracy of f32: every value is
//! a sum of up to three 16-bit pieces, and the products of pieces that f32 could tell from nothing are added up in f32. Most models
//! are stored in 16 bits, so that their weights are one piece, and three products of the unit (sixteen times as fast as vectors)
//! do for one. The idea of Henry, Tang and Heinecke 2019, arXiv 1904.06376. Where [`Precision`] asks for no more than 16 bits, both
//! factors are one piece. Knows matrices, no model.
mod factors;
mod unit;

use std::cell::RefCell;

use rayon::prelude::*;

use super::Precision;
use super::matmul::Old;
pub(crate) use factors::{Factor, INNER, multiply, put_left, put_right};
use factors::{left, near};
pub(crate) use unit::{BLOCK, Pieces, Row, Unit};
use unit::{ROWS, STEP};

/// Most rows of the left factor whose pieces lie ready at once, and most steps: they stay in the second cache.
pub(crate) const LEFT: usize = 128;
const STEPS: usize = 20;

/// Whether the machine has a matrix unit of this kind.
pub(crate) fn there() -> bool {
    Unit::begin().is_some()
}

/// Pieces that every one of these values is the sum of. None where the machine has no unit, or there is no value.
pub(crate) fn pieces(values: &[f32]) -> Option<Pieces> {
    let most = there().then(|| values.par_chunks(1 << 16).map(needed).max()).flatten()?;
    Some(match most {
        0 | 1 => Pieces::One,
        2 => Pieces::Two,
        _ => Pieces::Three,
    })
}

/// A frozen right factor of (inner, columns), by panels of 32 columns, each by steps of 32 of the inner dimension.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    rows: Vec<Row>,
    pieces: Pieces,
    inner: usize,
    columns: usize,
}

impl Tiles {
    /// Lays out the matrix whose element (i, j) is `values[i * row + j * column]` and whose values need so many `pieces`.
    pub fn new(values: &[f32], pieces: Pieces, (inner, columns): (usize, usize), (row, column): (usize, usize)) -> Self {
        let (count, steps) = (pieces.count(), inner.div_ceil(INNER));
        let mut rows = vec![Row([0; 32]); columns.div_ceil(BLOCK) * steps * count * STEP];
        rows.par_chunks_mut(steps * count * STEP).enumerate().for_each(|(panel, rows)| {
            for j in panel * BLOCK..columns.min(panel * BLOCK + BLOCK) {
                for i in 0..inner {
                    let (tile, at) = (j % BLOCK / ROWS, j % ROWS * 2 + i % 2);
                    let mut rest = values[i * row + j * column];
                    for piece in 0..count {
                        let (first, next) = split(rest);
                        rows[((i / INNER * count + piece) * 2 + tile) * ROWS + i % INNER / 2].0[at] = first;
                        rest = next;
                    }
                }
            }
        });
        Self { rows, pieces, inner, columns }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
    }

    /// `y = factor · x M`, or that added to `y`, both factors in such a precision; rows of `x` and `y` lie one behind the other. The bits
    /// depend on the shapes alone.
    pub fn multiply(&self, x: &[f32], y: &mut [f32], old: Old, factor: f32, precision: Precision) {
        thread_local!(static LEFTS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) });
        let unit = Unit::begin().expect("tiles are laid out where there is a unit");
        LEFTS.with_borrow_mut(|lefts| {
            for (x, y) in x.chunks(LEFT * self.inner).zip(y.chunks_mut(LEFT * self.columns)) {
                self.rows_of((&unit, lefts), x, y, old, factor, precision);
            }
        });
    }

    /// [`Tiles::multiply`] of a few rows.
    fn rows_of(&self, (unit, lefts): (&Unit, &mut Vec<Row>), x: &[f32], y: &mut [f32], old: Old, factor: f32, precision: Precision) {
        let (steps, count) = (self.inner.div_ceil(INNER), self.pieces.count());
        let most = steps.div_ceil(steps.div_ceil(STEPS));
        let rows = x.len() / self.inner;
        let blocks = rows.div_ceil(BLOCK);
        let mut aside = [0.0; BLOCK * BLOCK];
        for first in (0..steps).step_by(most) {
            let here = most.min(steps - first);
            let size = here * precision.pieces().count() * STEP;
            lefts.resize(blocks * size, Row([0; 32]));
            left(precision, (x, self.inner, first * INNER), (lefts.as_mut_slice(), here));
            let add = first > 0 || old == Old::Add;
            for (panel, right) in self.rows.chunks_exact(steps * count * STEP).enumerate() {
                let right = &right[first * count * STEP..][..here * count * STEP];
                for (block, left) in lefts.chunks_exact(size).enumerate() {
                    // each block fetches its share of the next panel
                    let ahead = right.as_ptr().wrapping_add((steps * count * STEP) + block * here * 8);
                    let (left, right, column) = ((left, precision), (right, self.pieces), panel * BLOCK);
                    let out = &mut y[block * BLOCK * self.columns + column..];
                    if factor == 1.0 && (block + 1) * BLOCK <= rows && column + BLOCK <= self.columns {
                        unit.multiply(left, right, (out, self.columns), add, ahead);
                        continue;
                    }
                    // at an edge in the same order of additions, so that a row's bits do not depend on its neighbours
                    let columns = BLOCK.min(self.columns - column);
                    if factor == 1.0 && add {
                        edge(out, self.columns, columns).for_each(|(at, out)| aside[at..at + columns].copy_from_slice(out));
                    }
                    unit.multiply(left, right, (&mut aside, BLOCK), factor == 1.0 && add, ahead);
                    edge(out, self.columns, columns).for_each(|(at, out)| put(&aside[at..at + columns], out, add && factor != 1.0, factor));
                }
            }
        }
    }
}

/// The nearest float of 16 bits, ties to even, and what is left.
fn split(x: f32) -> (u16, f32) {
    let piece = near(x);
    ((piece >> 16) as u16, x - f32::from_bits(piece))
}

/// Pieces that the values need to be exact; three where that is not enough.
fn needed(values: &[f32]) -> usize {
    let (mut most, mut rests) = (0, values.to_vec());
    while most < 3 && rests.iter().any(|rest| *rest != 0.0) {
        rests.iter_mut().for_each(|rest| *rest = split(*rest).1);
        most += 1;
    }
    most
}

/// The rows of a block that `out` has, `width` apart and so many `columns` wide, each with where a block of its own has it.
fn edge(out: &mut [f32], width: usize, columns: usize) -> impl Iterator<Item = (usize, &mut [f32])> {
    out.chunks_mut(width).take(BLOCK).enumerate().map(move |(i, row)| (i * BLOCK, &mut row[..columns]))
}

fn put(row: &[f32], out: &mut [f32], add: bool, factor: f32) {
    for (value, out) in row.iter().zip(out) {
        *out = factor * value + if add { *out } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::matmul::Old;
    use super::{Pieces, Precision, Tiles, needed, split, there};
    use crate::train::differences::wave;

    fn singles(count: usize, seed: usize) -> Vec<f32> {
        wave(count, seed).into_iter().map(|x| x as f32).collect()
    }

    fn cut(values: &[f32], pieces: usize) -> Vec<f32> {
        let kept = |x: &f32| (0..pieces).fold(*x, |rest, _| split(rest).1);
        values.iter().map(|x| x - kept(x)).collect()
    }

    #[test]
    fn three_pieces_are_the_whole_value() {
        for x in singles(10_000, 1).into_iter().chain([0.0, -0.0, 1e-30, -1e30, 1.0 + f32::EPSILON]) {
            let rest = (0..3).fold(x, |rest, _| split(rest).1);
            assert_eq!(rest, 0.0, "{x}");
        }
        assert!(split(f32::NAN).1.is_nan(), "nothing hides what is no number");
        assert_eq!([1, 2, 3].map(|pieces| needed(&cut(&singles(100, 2), pieces))), [1, 2, 3]);
        assert_eq!(needed(&[0.0; 3]), 0);
    }

    #[test]
    fn products_are_as_exact_as_those_of_vectors_and_in_16_bits_as_those_of_rounded_factors() {
        if !there() {
            println!("no matrix unit here: nothing to test");
            return;
        }
        for precision in [Precision::F32, Precision::Bf16] {
            products(precision);
        }
    }

    fn products(precision: Precision) {
        let kept = |x: f32| f64::from(if precision == Precision::F32 { x } else { half::bf16::from_f32(x).to_f32() });
        // one row, odd widths, more rows than are cut at once, more steps than are taken at once
        for (rows, inner, columns) in [(1, 1, 1), (5, 70, 33), (130, 32, 64), (33, 1_400, 40), (32, 640, 31)] {
            for (pieces, kind) in [(1, Pieces::One), (2, Pieces::Two), (3, Pieces::Three)] {
                let (x, matrix) = (singles(rows * inner, 3), cut(&singles(inner * columns, 4), pieces));
                for (row, column) in [(columns, 1), (1, inner)] {
                    let needed = super::pieces(&matrix).expect("a unit");
                    assert!(matrix.len() < 100 || needed == kind);
                    let tiles = Tiles::new(&matrix, needed, (inner, columns), (row, column));
                    let mut y = vec![1.0; rows * columns];
                    tiles.multiply(&x, &mut y, Old::Add, 0.5, precision);
                    let mut overwritten = vec![f32::NAN; rows * columns];
                    tiles.multiply(&x, &mut overwritten, Old::Drop, 0.5, precision);
                    for i in 0..rows {
                        for j in 0..columns {
                            let terms = (0..inner).map(|k| kept(x[i * inner + k]) * kept(matrix[k * row + j * column]));
                            let (right, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                            // 24 bits of each product, and as many of sums of a few hundred
                            let bound = 4e-7 * (size + 1.0);
                            assert!((f64::from(y[i * columns + j]) - 1.0 - 0.5 * right).abs() < bound);
                            assert!((f64::from(overwritten[i * columns + j]) - 0.5 * right).abs() < bound);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_so() {
        if !there() {
            println!("no matrix unit here: nothing to test");
            return;
        }
        let tiles = Tiles::new(&[1.0; 64], Pieces::One, (32, 2), (2, 1));
        let mut x = [1.0; 64];
        x[40] = f32::NAN;
        let mut y = [0.0; 4];
        tiles.multiply(&x, &mut y, Old::Drop, 1.0, Precision::F32);
        assert_eq!(&y[..2], &[32.0, 32.0]);
        assert!(y[2].is_nan() && y[3].is_nan());
    }
}
