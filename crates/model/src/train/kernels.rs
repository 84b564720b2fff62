//! The pointwise parts of a decoder, forward and backward, over rows: RMS norm, rotary positions, gates.
//! Knows slices, no layer.
use super::float::{Float, dot};
use super::vector::vectorised;
use crate::config::Rope;
use crate::{Activation, Config};

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

vectorised! {
    /// [`rms_norm`] of each head of queries and keys in place: each row (`stride` wide) begins with as many heads as `counts` says,
    /// those of queries first, each kind with its gain. `raw` keeps what they were, head after head, and `inverse` 1 / rms.
    ///
    /// Henry et al. 2020, arXiv 2010.04245, with an RMS norm as in Qwen3.
    pub(crate) fn norm_heads(
        rows: &mut [F], stride: usize, counts: [usize; 2], gains: [&[F]; 2], eps: F, raw: &mut [F], inverse: &mut [F],
    ) -> () {
        let (width, all) = (gains[0].len(), counts[0] + counts[1]);
        let count = F::from_f64(width as f64);
        let kept = raw.chunks_exact_mut(all * width).zip(inverse.chunks_exact_mut(all));
        for (row, (raw, inverse)) in rows.chunks_exact_mut(stride).zip(kept) {
            raw.copy_from_slice(&row[..all * width]);
            for (head, (out, x)) in row.chunks_exact_mut(width).zip(raw.chunks_exact(width)).enumerate() {
                let gain = gains[usize::from(head >= counts[0])];
                inverse[head] = F::ONE / (dot(x, x) / count + eps).sqrt();
                for i in 0..width {
                    out[i] = x[i] * inverse[head] * gain[i];
                }
            }
        }
    }
}

vectorised! {
    /// Way back through [`norm_heads`]: `drows` comes as the gradient of what it made and leaves as that of what it took; the
    /// gradients of the gains are added unless empty.
    pub(crate) fn norm_heads_back(
        drows: &mut [F], stride: usize, counts: [usize; 2], gains: [&[F]; 2], raw: &[F], inverse: &[F], dgains: [&mut [F]; 2],
    ) -> () {
        let (width, all) = (gains[0].len(), counts[0] + counts[1]);
        let count = F::from_f64(width as f64);
        let mut scaled = vec![F::ZERO; width];
        let kept = raw.chunks_exact(all * width).zip(inverse.chunks_exact(all));
        for (drow, (raw, inverse)) in drows.chunks_exact_mut(stride).zip(kept) {
            for (head, (drow, x)) in drow.chunks_exact_mut(width).zip(raw.chunks_exact(width)).enumerate() {
                let kind = usize::from(head >= counts[0]);
                let inverse = inverse[head];
                for (dgain, (x, dout)) in dgains[kind].iter_mut().zip(x.iter().zip(&*drow)) {
                    *dgain += *dout * *x * inverse;
                }
                for i in 0..width {
                    scaled[i] = drow[i] * gains[kind][i];
                }
                let pull = dot(&scaled, x) * inverse * inverse * inverse / count;
                for i in 0..width {
                    drow[i] = scaled[i] * inverse - x[i] * pull;
                }
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
    /// Width of a head, of which the first `2 * half` dimensions are turned.
    width: usize,
}

impl<F: Float> Rotations<F> {
    /// Table for positions below `length` and heads of `width`; frequencies in radians a position, `factor` on cosines and sines.
    ///
    /// In f32 the frequency and the angle are rounded to f32 before the cosine, as every published Llama was trained.
    pub fn new(frequencies: &[f64], factor: f64, width: usize, length: usize) -> Self {
        let angle = |position: usize, frequency: f64| (F::from_f64(position as f64) * F::from_f64(frequency)).to_f64();
        let table = |f: fn(f64) -> f64| -> Vec<F> {
            let angles = (0..length).flat_map(|position| frequencies.iter().map(move |&frequency| angle(position, frequency)));
            angles.map(|angle| F::from_f64(f(angle)) * F::from_f64(factor)).collect()
        };
        Self { cos: table(f64::cos), sin: table(f64::sin), half: frequencies.len(), width }
    }

    /// A table of each rope for positions below `length`, as sequences of `whole` tokens are turned.
    pub fn of(config: &Config, length: usize, whole: usize) -> Vec<Self> {
        let table = |rope: &Rope| Self::new(&rope.inverse_frequencies(whole), rope.attention_factor(), config.head_dim, length);
        config.ropes.iter().map(table).collect()
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
            for head in row[..heads * table.width].chunks_exact_mut(table.width) {
                let (first, second) = head[..2 * half].split_at_mut(half);
                for i in 0..half {
                    let (a, b, s) = (first[i], second[i], sign * sin[i]);
                    first[i] = a * cos[i] - b * s;
                    second[i] = b * cos[i] + a * s;
                }
            }
        }
    }
}

/// `out = f(gate) · up`, where each row of `gate_up` is the gate, then the up half.
pub(crate) fn gate<F: Float>(activation: Activation, gate_up: &[F], width: usize, out: &mut [F]) {
    match activation {
        Activation::Silu => swiglu(gate_up, width, out),
        Activation::GeluTanh => geglu(gate_up, width, out),
    }
}

/// Way back through [`gate`]: overwrites `dgate_up`.
pub(crate) fn gate_back<F: Float>(activation: Activation, gate_up: &[F], width: usize, dout: &[F], dgate_up: &mut [F]) {
    match activation {
        Activation::Silu => swiglu_back(gate_up, width, dout, dgate_up),
        Activation::GeluTanh => geglu_back(gate_up, width, dout, dgate_up),
    }
}

vectorised! {
    /// `out = silu(gate) · up`, where each row of `gate_up` is the gate, then the up half. Shazeer 2020, arXiv 2002.05202.
    fn swiglu(gate_up: &[F], width: usize, out: &mut [F]) -> () {
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
    fn swiglu_back(gate_up: &[F], width: usize, dout: &[F], dgate_up: &mut [F]) -> () {
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

/// Twice the inner part of gelu's tanh formula is `x · (CUBE · x² + 1) · SLOPE`: x · Φ(x) ≈ x · σ of it, because
/// (1 + tanh u) / 2 = σ(2u).
pub(super) const SLOPE: f64 = 2.0 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
/// The factor of the cube in it (Hendrycks and Gimpel 2016, arXiv 1606.08415).
pub(super) const CUBE: f64 = 0.044_715;

vectorised! {
    /// `out = gelu(gate) · up`. Shazeer 2020, arXiv 2002.05202, with the tanh formula of Hendrycks and Gimpel 2016, arXiv 1606.08415.
    fn geglu(gate_up: &[F], width: usize, out: &mut [F]) -> () {
        let (slope, cube) = (F::from_f64(SLOPE), F::from_f64(CUBE));
        for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            for i in 0..width {
                let x = gate[i];
                let inner = x * (cube * x * x + F::ONE) * slope;
                out[i] = x / (F::ONE + (-inner).exp()) * up[i];
            }
        }
    }
}

vectorised! {
    /// Way back through [`geglu`]: overwrites `dgate_up`.
    fn geglu_back(gate_up: &[F], width: usize, dout: &[F], dgate_up: &mut [F]) -> () {
        let (slope, cube, three) = (F::from_f64(SLOPE), F::from_f64(CUBE), F::from_f64(3.0));
        let rows = gate_up.chunks_exact(2 * width).zip(dout.chunks_exact(width)).zip(dgate_up.chunks_exact_mut(2 * width));
        for ((row, dout), drow) in rows {
            let (gate, up) = row.split_at(width);
            let (dgate, dup) = drow.split_at_mut(width);
            for i in 0..width {
                let x = gate[i];
                let cubed = cube * x * x;
                let share = F::ONE / (F::ONE + (-(x * (cubed + F::ONE) * slope)).exp());
                dup[i] = dout[i] * x * share;
                dgate[i] = dout[i] * up[i] * (share + x * share * (F::ONE - share) * (three * cubed + F::ONE) * slope);
            }
        }
    }
}

/// Adds `factor · bias` to each row.
pub(crate) fn add_bias<F: Float>(rows: &mut [F], bias: &[F], factor: F) {
    for row in rows.chunks_exact_mut(bias.len().max(1)) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x += *b * factor;
        }
    }
}

/// Adds `factor` times the sum of all rows to `sums`, which is one row.
pub(crate) fn add_rows<F: Float>(rows: &[F], sums: &mut [F], factor: F) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += *x * factor;
        }
    }
}

/// Multiplies each value by `factor`, unless that changes nothing.
pub(crate) fn scale<F: Float>(values: &mut [F], factor: F) {
    if factor != F::ONE {
        values.iter_mut().for_each(|x| *x *= factor);
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
    use super::{Rotations, gate, gate_back, norm_heads, norm_heads_back, rms_norm, rms_norm_back};
    use crate::Activation;
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
    fn norms_of_heads_agree_with_finite_differences() {
        // rows of two query heads, one key head and two columns that stay
        let (x, pull, gains) = (wave(3 * 14, 1), wave(3 * 14, 2), wave(8, 3));
        let forward = |x: &[f64], gains: &[f64]| {
            let (mut x, mut raw, mut inverse) = (x.to_vec(), vec![0.0; 3 * 12], vec![0.0; 9]);
            norm_heads(&mut x, 14, [2, 1], [&gains[..4], &gains[4..]], 1e-5, &mut raw, &mut inverse);
            (x, raw, inverse)
        };
        let (_, raw, inverse) = forward(&x, &gains);
        let (mut dx, mut dquery, mut dkey) = (pull.clone(), vec![0.0; 4], vec![0.0; 4]);
        let both = [&gains[..4], &gains[4..]];
        norm_heads_back(&mut dx, 14, [2, 1], both, &raw, &inverse, [&mut dquery, &mut dkey]);
        agree(&x, &dx, &pull, |x| forward(x, &gains).0);
        agree(&gains, &[dquery, dkey].concat(), &pull, |gains| forward(&x, gains).0);
    }

    #[test]
    fn gates_agree_with_finite_differences() {
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let (x, pull) = (wave(4 * 6, 1), wave(4 * 3, 2));
            let mut dx = vec![0.0; 24];
            gate_back(activation, &x, 3, &pull, &mut dx);
            agree(&x, &dx, &pull, |x| {
                let mut out = vec![0.0; 12];
                gate(activation, x, 3, &mut out);
                out
            });
        }
    }

    #[test]
    fn rotation_agrees_with_finite_differences_and_turns_back() {
        let (table, positions) = (Rotations::<f64>::new(&[1.0, 0.1], 1.0, 4, 9), [0, 3, 8]);
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
