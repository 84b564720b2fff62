//! A frozen matrix laid out for the products it is a factor of again and again: panels that need no packing.
//! Knows shapes, no names and no model.
use rayon::prelude::*;

use super::float::Float;
use super::matmul::{Mat, MatMut, Old, multiply};

/// Outputs of a panel: four vectors of the widest kind, as many as the kernel of `gemm` takes at once, so that a panel is read from
/// its first byte to its last. 128 rows times a matrix are a quarter faster than with `gemm`'s own packing, which pays for the
/// whole matrix at every product (docs/log.md).
const PANEL: usize = 64;

/// `W` of (outputs, inputs) as panels of (inputs, 64 outputs), the last one narrower. Empty where there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Panels<F> {
    values: Vec<F>,
    inputs: usize,
}

impl<F: Float> Panels<F> {
    /// Lays out `matrix` of (outputs, `inputs`).
    pub fn new(matrix: &[F], inputs: usize) -> Self {
        let mut values = vec![F::ZERO; matrix.len()];
        let panels = values.par_chunks_mut(PANEL * inputs).zip(matrix.par_chunks(PANEL * inputs));
        panels.for_each(|(panel, rows)| {
            let width = panel.len() / inputs;
            for (output, row) in rows.chunks_exact(inputs).enumerate() {
                row.iter().enumerate().for_each(|(input, value)| panel[input * width + output] = *value);
            }
        });
        Self { values, inputs }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `y = factor · x Wᵀ`, or that added to `y`; rows of `x` and `y` lie one behind the other.
    pub fn multiply(&self, x: &[F], y: &mut [F], old: Old, factor: F) {
        let (rows, width) = (x.len() / self.inputs, self.values.len() / self.inputs);
        let x = Mat::new(x, rows, self.inputs);
        for (i, panel) in self.values.chunks(PANEL * self.inputs).enumerate() {
            let outputs = panel.len() / self.inputs;
            let panel = Mat::new(panel, self.inputs, outputs);
            multiply(MatMut::strided(&mut y[i * PANEL..], rows, outputs, width), old, factor, x, panel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matmul::{Mat, MatMut, Old, multiply};
    use super::Panels;
    use crate::train::differences::wave;

    #[test]
    fn panels_give_the_product_of_the_matrix() {
        for (rows, inputs, outputs) in [(5, 7, 3), (70, 30, 64), (3, 8, 150)] {
            let (x, w) = (wave(rows * inputs, 1), wave(outputs * inputs, 2));
            let (mut found, mut right) = (vec![1.0; rows * outputs], vec![1.0; rows * outputs]);
            Panels::new(&w, inputs).multiply(&x, &mut found, Old::Add, 1.0);
            let (x, w) = (Mat::new(&x, rows, inputs), Mat::new(&w, outputs, inputs));
            multiply(MatMut::new(&mut right, rows, outputs), Old::Add, 1.0, x, w.t());
            assert!(found.iter().zip(&right).all(|(found, right)| (found - right).abs() < 1e-13));
        }
    }
}
