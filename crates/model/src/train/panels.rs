//! A frozen matrix laid out for the products it is a factor of again and again: for the matrix unit where there is one, or as panels
//! that need no packing. Knows shapes, no names and no model.
use rayon::prelude::*;

use super::Precision;
use super::float::Float;
use super::matmul::{Mat, MatMut, Old, multiply};
use super::tiles::{Tiles, pieces};

/// Outputs of a panel: four vectors of the widest kind, as many as the kernel of `gemm` takes at once, so that a panel is read from
/// its first byte to its last. 128 rows times a matrix are a quarter faster than with `gemm`'s own packing, which pays for the
/// whole matrix at every product (docs/log.md).
const PANEL: usize = 64;

/// `W` of (outputs, inputs), laid out.
#[derive(Clone, Debug, Default)]
pub(super) enum Panels<F> {
    /// Not at all.
    #[default]
    None,
    /// For the way forward: panels of (inputs, 64 outputs), the last one narrower.
    Forward(Vec<F>),
    /// For both ways on the matrix unit.
    Both([Tiles; 2]),
}

impl<F: Float> Panels<F> {
    /// Lays out `matrix` of (outputs, `inputs`).
    pub fn new(matrix: &[F], inputs: usize) -> Self {
        let outputs = matrix.len() / inputs;
        match F::singles(matrix).and_then(|matrix| Some((matrix, pieces(matrix)?))) {
            Some((matrix, pieces)) => Self::Both([
                Tiles::new(matrix, pieces, (inputs, outputs), (1, inputs)),
                Tiles::new(matrix, pieces, (outputs, inputs), (inputs, 1)),
            ]),
            None => Self::forward(matrix, inputs),
        }
    }

    fn forward(matrix: &[F], inputs: usize) -> Self {
        let mut values = vec![F::ZERO; matrix.len()];
        let panels = values.par_chunks_mut(PANEL * inputs).zip(matrix.par_chunks(PANEL * inputs));
        panels.for_each(|(panel, rows)| {
            let width = panel.len() / inputs;
            for (output, row) in rows.chunks_exact(inputs).enumerate() {
                row.iter().enumerate().for_each(|(input, value)| panel[input * width + output] = *value);
            }
        });
        Self::Forward(values)
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Forward(values) => size_of_val(values.as_slice()),
            Self::Both(tiles) => tiles.iter().map(Tiles::bytes).sum(),
        }
    }

    /// `y = factor · x Wᵀ`, or that added to `y`, with `matrix` as W of (outputs, `inputs`), of which these are the panels; rows of `x`
    /// and `y` lie one behind the other. The `precision` is that of the matrix unit; without one it is `F`'s.
    pub fn multiply(&self, (matrix, inputs): (&[F], usize), x: &[F], y: &mut [F], old: Old, factor: F, precision: Precision) {
        let (rows, outputs) = (x.len() / inputs, matrix.len() / inputs);
        match self {
            Self::Both([tiles, _]) => on_unit(tiles, x, y, old, factor, precision),
            Self::Forward(values) => {
                let x = Mat::new(x, rows, inputs);
                for (i, panel) in values.chunks(PANEL * inputs).enumerate() {
                    let width = panel.len() / inputs;
                    let panel = Mat::new(panel, inputs, width);
                    multiply(MatMut::strided(&mut y[i * PANEL..], rows, width, outputs), old, factor, x, panel);
                }
            }
            Self::None => {
                let (x, matrix) = (Mat::new(x, rows, inputs), Mat::new(matrix, outputs, inputs));
                multiply(MatMut::new(y, rows, outputs), old, factor, x, matrix.t());
            }
        }
    }

    /// Way back through [`Panels::multiply`]: `dx = factor · dy W`.
    pub fn multiply_back(&self, (matrix, inputs): (&[F], usize), dy: &[F], dx: &mut [F], factor: F, precision: Precision) {
        let (rows, outputs) = (dx.len() / inputs, matrix.len() / inputs);
        if let Self::Both([_, tiles]) = self {
            return on_unit(tiles, dy, dx, Old::Drop, factor, precision);
        }
        multiply(MatMut::new(dx, rows, inputs), Old::Drop, factor, Mat::new(dy, rows, outputs), Mat::new(matrix, outputs, inputs));
    }
}

fn on_unit<F: Float>(tiles: &Tiles, x: &[F], y: &mut [F], old: Old, factor: F, precision: Precision) {
    let both = F::singles(x).zip(F::singles_mut(y));
    let (x, y) = both.expect("only f32 is laid out as tiles");
    #[expect(clippy::cast_possible_truncation, reason = "it is an f32")]
    tiles.multiply(x, y, old, factor.to_f64() as f32, precision);
}

#[cfg(test)]
mod tests {
    use super::super::matmul::Old;
    use super::{Float, Panels, Precision};
    use crate::train::differences::wave;

    #[test]
    fn panels_give_the_products_of_the_matrix() {
        for (rows, inputs, outputs) in [(5, 7, 3), (70, 30, 64), (3, 8, 150)] {
            let (x, w, dy) = (wave(rows * inputs, 1), wave(outputs * inputs, 2), wave(rows * outputs, 3));
            check(&x, &w, &dy, inputs, 1e-13);
            let single = |values: Vec<f64>| -> Vec<f32> { values.into_iter().map(|x| x as f32).collect() };
            check(&single(x), &single(w), &single(dy), inputs, 4e-6);
        }
    }

    fn check<F: Float>(x: &[F], w: &[F], dy: &[F], inputs: usize, bound: f64) {
        let close = |found: &[F], right: &[F]| {
            found.iter().zip(right).all(|(a, b)| (a.to_f64() - b.to_f64()).abs() < bound * (1.0 + b.to_f64().abs()))
        };
        let panels = Panels::new(w, inputs);
        let run = |panels: &Panels<F>| {
            let (mut y, mut dx) = (vec![F::ONE; dy.len()], vec![F::ONE; x.len()]);
            panels.multiply((w, inputs), x, &mut y, Old::Add, F::ONE, Precision::F32);
            panels.multiply_back((w, inputs), dy, &mut dx, -F::ONE, Precision::F32);
            (y, dx)
        };
        let ((y, dx), (right, right_back)) = (run(&panels), run(&Panels::None));
        assert!(close(&y, &right) && close(&dx, &right_back));
        // and without a unit
        let (y, dx) = run(&Panels::forward(w, inputs));
        assert!(close(&y, &right) && close(&dx, &right_back));
    }
}
