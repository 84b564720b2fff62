//! A fused linear layer with an optional adapter, forward and backward. Frozen weights get no gradient, not even one that
//! is thrown away. Knows slices and ranks, no names.
use super::Precision;
use super::float::Float;
use super::kernels::{add_bias, add_rows};
use super::matmul::{Mat, MatMut, Old, multiply};
use super::parameters::{Fused, Linear, Widths, own};

/// What a fused linear looks like: its parts' outputs, its inputs, the adapter's rank and scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form<F> {
    outputs: [usize; 3],
    parts: usize,
    inputs: usize,
    rank: usize,
    scale: F,
    /// Factor on the outputs.
    factor: F,
    /// Of the products with frozen weights.
    precision: Precision,
}

impl<F: Float> Form<F> {
    /// `rank` is 0 without an adapter; `scale` is α / rank. Hu et al. 2021, arXiv 2106.09685.
    pub fn new(widths: Widths, fused: Fused, rank: usize, scale: F) -> Self {
        let (outputs, parts) = widths.outputs(fused);
        Self { outputs, parts, inputs: widths.inputs(fused), rank, scale, factor: F::ONE, precision: Precision::F32 }
    }

    /// The same with a factor on the outputs, adapter included.
    pub fn times(self, factor: F) -> Self {
        Self { scale: self.scale * factor, factor, ..self }
    }

    /// The same with frozen weights and what they are multiplied by in such a precision.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Values of x Aᵀ for each row.
    pub fn lows(self) -> usize {
        self.parts * self.rank
    }

    fn width(self) -> usize {
        self.outputs.iter().sum()
    }

    /// (part, first output, outputs) of each part.
    fn spans(self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.parts).map(move |part| (part, self.outputs[..part].iter().sum(), self.outputs[part]))
    }

    /// `y = factor · (x Wᵀ + bias + scale · (x Aᵀ) Bᵀ)`, or that added to `y`; `low` keeps x Aᵀ (T × parts·rank).
    pub fn forward(self, linear: &Linear<F>, x: &[F], y: &mut [F], old: Old, low: &mut [F]) {
        let (rows, width) = (x.len() / self.inputs, self.width());
        linear.panels.multiply((&linear.weight, self.inputs), x, y, old, self.factor, self.precision);
        let x = Mat::new(x, rows, self.inputs);
        add_bias(y, &linear.bias, self.factor);
        if linear.a.is_empty() {
            return;
        }
        let lows = self.lows();
        multiply(MatMut::new(low, rows, lows), Old::Drop, F::ONE, x, Mat::new(&linear.a, lows, self.inputs).t());
        for (part, first, outputs) in self.spans() {
            let low = Mat::strided(&low[part * self.rank..], rows, self.rank, lows);
            let b = Mat::new(&linear.b[first * self.rank..], outputs, self.rank);
            multiply(MatMut::strided(&mut y[first..], rows, outputs, width), Old::Add, self.scale, low, b.t());
        }
    }

    /// Way back: adds to the gradients that are not empty, and overwrites `dx` if there is one.
    pub fn backward(self, linear: &Linear<F>, gradient: &mut Linear<F>, (x, low): (&[F], &[F]), dy: &[F], dx: Option<&mut [F]>) {
        let (rows, width) = (x.len() / self.inputs, self.width());
        let (inputs, rank, lows) = (self.inputs, self.rank, self.lows());
        let (x, all) = (Mat::new(x, rows, inputs), Mat::new(dy, rows, width));
        if !gradient.weight.is_empty() {
            multiply(MatMut::new(own(&mut gradient.weight), width, inputs), Old::Add, self.factor, all.t(), x);
        }
        if !gradient.bias.is_empty() {
            add_rows(dy, own(&mut gradient.bias), self.factor);
        }
        let mut dlow = vec![F::ZERO; if linear.a.is_empty() { 0 } else { rows * lows }];
        if !dlow.is_empty() {
            let db = own(&mut gradient.b);
            for (part, first, outputs) in self.spans() {
                let dy = Mat::strided(&dy[first..], rows, outputs, width);
                let b = Mat::new(&linear.b[first * rank..], outputs, rank);
                multiply(MatMut::strided(&mut dlow[part * rank..], rows, rank, lows), Old::Drop, self.scale, dy, b);
                let low = Mat::strided(&low[part * rank..], rows, rank, lows);
                multiply(MatMut::new(&mut db[first * rank..], outputs, rank), Old::Add, self.scale, dy.t(), low);
            }
            let da = own(&mut gradient.a);
            multiply(MatMut::new(da, lows, inputs), Old::Add, F::ONE, Mat::new(&dlow, rows, lows).t(), x);
        }
        let Some(dx) = dx else { return };
        linear.panels.multiply_back((&linear.weight, inputs), dy, dx, self.factor, self.precision);
        if !dlow.is_empty() {
            multiply(MatMut::new(dx, rows, inputs), Old::Add, F::ONE, Mat::new(&dlow, rows, lows), Mat::new(&linear.a, lows, inputs));
        }
    }
}
