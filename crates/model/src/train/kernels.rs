//! The pointwise parts of a decoder, forward and backward, over rows: RMS norm, rotary positions, SwiGLU.
//! Knows slices, no model.
use super::float::{Float, dot};
use super::vector::vectorised;

vectorised! {
    /// `out = x / rms(x) · gain` for each row; `inverse` keeps 1 / rms of each row for the way back.
    ///
    /// Zhang and Sennrich 2019, arXiv 1910.07467, with `eps` under the root as in Llama.
    pub(crate) fn rms_norm(x: &[F], gain: &[F], eps: F, out: &mut [F], inverse: &mut [F]) -> () {
        let width = gain.len();
        let count = F::from_f64(width as f64);
        for ((x, out), inverse) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(inverse) {
            *inverse = F::ONE / (dot(x, x) / count + eps).sqrt();
            for i in 0..width {
                out[i] = x[i] * *inverse * gain[i];
            }
        }
    }
}

vectorised! {
    /// The normed rows again, from what [`rms_norm`] kept.
    pub(crate) fn rms_norm_again(x: &[F], gain: &[F], inverse: &[F], out: &mut [F]) -> () {
        let width = gain.len();
        for ((x, out), inverse) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(inverse) {
            for i in 0..width {
                out[i] = x[i] * *inverse * gain[i];
            }
        }
    }
}

vectorised! {
    /// Way back through [`rms_norm`]: adds the gradient of x to `dx`, and that of the gain to `dgain` unless that is empty.
    pub(crate) fn rms_norm_back(x: &[F], gain: &[F], inverse: &[F], dout: &[F], dx: &mut [F], dgain: &mut [F]) -> () {
        let width = gain.len();
        let count = F::from_f64(width as f64);
        let mut scaled = vec![F::ZERO; width];
        let rows = x.chunks_exact(width).zip(dout.chunks_exact(width)).zip(dx.chunks_exact_mut(width)).zip(inverse);
        for (((x, dout), dx), &inverse) in rows {
            for i in 0..width {
                scaled[i] = dout[i] * gain[i];
            }
            let pull = dot(&scaled, x) * inverse * inverse * inverse / count;
            for i in 0..width {
                dx[i] += scaled[i] * inverse - x[i] * pull;
            }
            for (dgain, (x, dout)) in dgain.iter_mut().zip(x.iter().zip(dout)) {
                *dgain += *dout * *x * inverse;
            }
        }
    }
}

/// Cosines and sines of every position below a length, `half` of each a position.
#[derive(Debug)]
pub(crate) struct Rotations<F> {
    cos: Vec<F>,
    sin: Vec<F>,
    half: usize,
}

impl<F: Float> Rotations<F> {
    /// Table for positions below `length`; frequencies in radians a position.
    ///
    /// In f32 the frequency and the angle are rounded to f32 before the cosine, as every published Llama was trained.
    pub fn new(frequencies: &[f64], length: usize) -> Self {
        let angle = |position: usize, frequency: f64| (F::from_f64(position as f64) * F::from_f64(frequency)).to_f64();
        let table = |f: fn(f64) -> f64| -> Vec<F> {
            let angles = (0..length).flat_map(|position| frequencies.iter().map(move |&frequency| angle(position, frequency)));
            angles.map(|angle| F::from_f64(f(angle))).collect()
        };
        Self { cos: table(f64::cos), sin: table(f64::sin), half: frequencies.len() }
    }

    /// Cosines and sines, position after position.
    pub fn into_parts(self) -> (Vec<F>, Vec<F>) {
        (self.cos, self.sin)
    }

    /// Turns the first `heads` heads of each row (`stride` apart) by its position; `back` turns the other way, which is the
    /// gradient because a rotation's inverse is its transpose. Su et al. 2021, arXiv 2104.09864, half-split pairs.
    pub fn turn(&self, rows: &mut [F], stride: usize, heads: usize, positions: &[usize], back: bool) {
        turn(self, rows, stride, heads, positions, if back { -F::ONE } else { F::ONE });
    }
}

vectorised! {
    fn turn(table: &Rotations<F>, rows: &mut [F], stride: usize, heads: usize, positions: &[usize], sign: F) -> () {
        let half = table.half;
        for (row, position) in rows.chunks_exact_mut(stride).zip(positions) {
            let cos = &table.cos[position * half..][..half];
            let sin = &table.sin[position * half..][..half];
            for head in row[..heads * 2 * half].chunks_exact_mut(2 * half) {
                let (first, second) = head.split_at_mut(half);
                for i in 0..half {
                    let (a, b, s) = (first[i], second[i], sign * sin[i]);
                    first[i] = a * cos[i] - b * s;
                    second[i] = b * cos[i] + a * s;
                }
            }
        }
    }
}

vectorised! {
    /// `out = silu(gate) · up`, where each row of `gate_up` is the gate, then the up half. Shazeer 2020, arXiv 2002.05202.
    pub(crate) fn swiglu(gate_up: &[F], width: usize, out: &mut [F]) -> () {
        for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            for i in 0..width {
                out[i] = gate[i] / (F::ONE + (-gate[i]).exp()) * up[i];
            }
        }
    }
}

vectorised! {
    /// Way back through [`swiglu`]: overwrites `dgate_up`.
    pub(crate) fn swiglu_back(gate_up: &[F], width: usize, dout: &[F], dgate_up: &mut [F]) -> () {
        let rows = gate_up.chunks_exact(2 * width).zip(dout.chunks_exact(width)).zip(dgate_up.chunks_exact_mut(2 * width));
        for ((row, dout), drow) in rows {
            let (gate, up) = row.split_at(width);
            let (dgate, dup) = drow.split_at_mut(width);
            for i in 0..width {
                let sigmoid = F::ONE / (F::ONE + (-gate[i]).exp());
                let silu = gate[i] * sigmoid;
                dup[i] = dout[i] * silu;
                dgate[i] = dout[i] * up[i] * (sigmoid + silu * (F::ONE - sigmoid));
            }
        }
    }
}

/// Adds `bias` to each row.
pub(crate) fn add_bias<F: Float>(rows: &mut [F], bias: &[F]) {
    for row in rows.chunks_exact_mut(bias.len().max(1)) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x += *b;
        }
    }
}

/// Adds the sum of all rows to `sums`, which is one row.
pub(crate) fn add_rows<F: Float>(rows: &[F], sums: &mut [F]) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += *x;
        }
    }
}

vectorised! {
    /// Adds `other` to `sums`, element by element.
    pub(crate) fn add(sums: &mut [F], other: &[F]) -> () {
        for (sum, x) in sums.iter_mut().zip(other) {
            *sum += *x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rotations, rms_norm, rms_norm_back, swiglu, swiglu_back};
    use crate::train::differences::{agree, wave};

    #[test]
    fn norm_agrees_with_finite_differences() {
        let (x, gain, pull) = (wave(3 * 5, 1), wave(5, 2), wave(3 * 5, 3));
        let forward = |x: &[f64], gain: &[f64]| {
            let (mut out, mut inverse) = (vec![0.0; x.len()], vec![0.0; 3]);
            rms_norm(x, gain, 1e-5, &mut out, &mut inverse);
            (out, inverse)
        };
        let (mut dx, mut dgain) = (vec![0.0; 15], vec![0.0; 5]);
        rms_norm_back(&x, &gain, &forward(&x, &gain).1, &pull, &mut dx, &mut dgain);
        agree(&x, &dx, &pull, |x| forward(x, &gain).0);
        agree(&gain, &dgain, &pull, |gain| forward(&x, gain).0);
    }

    #[test]
    fn swiglu_agrees_with_finite_differences() {
        let (x, pull) = (wave(4 * 6, 1), wave(4 * 3, 2));
        let mut dx = vec![0.0; 24];
        swiglu_back(&x, 3, &pull, &mut dx);
        agree(&x, &dx, &pull, |x| {
            let mut out = vec![0.0; 12];
            swiglu(x, 3, &mut out);
            out
        });
    }

    #[test]
    fn rotation_agrees_with_finite_differences_and_turns_back() {
        let (table, positions) = (Rotations::<f64>::new(&[1.0, 0.1], 9), [0, 3, 8]);
        let turn = |x: &[f64], back| {
            let mut x = x.to_vec();
            table.turn(&mut x, 10, 2, &positions, back); // two heads of four, and two columns that stay
            x
        };
        let (x, pull) = (wave(3 * 10, 1), wave(3 * 10, 2));
        agree(&x, &turn(&pull, true), &pull, |x| turn(x, false));
        assert!(x.iter().zip(turn(&turn(&x, false), true)).all(|(a, b)| (a - b).abs() < 1e-15));
        assert!((turn(&x, false)[12] - x[12]).abs() > 1e-3);
    }
}
