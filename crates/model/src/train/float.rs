//! The numbers that training computes with: f32 for real runs, f64 for exact tests. Knows scalars and slices, no tensors.
use candle_core::WithDType;

/// A real number of the training kernels.
pub(crate) trait Float: WithDType + Default + std::ops::Neg<Output = Self> {
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// e to the power of `self`, which stays above -87; written so that loops over it become vector code.
    fn exp(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// The values where this is f32, for kernels of that type alone.
    fn singles(values: &[Self]) -> Option<&[f32]>;
    /// [`Float::singles`] to be written.
    fn singles_mut(values: &mut [Self]) -> Option<&mut [f32]>;
}

impl Float for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn exp(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.ln()
    }
    fn singles(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn singles_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

impl Float for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    /// Range reduction by ln 2 in two parts and the degree-5 polynomial of Cephes' `expf`: within 2 ulp on [-87, 88].
    #[inline(always)]
    fn exp(self) -> Self {
        // adding 1.5·2^23 rounds to an integer and leaves it in the low bits
        const ROUND: f32 = 12_582_912.0;
        let x = if self < -87.0 { -87.0 } else { self };
        let x = if x > 88.0 { 88.0 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
        let p = 1.987_569_1e-4_f32;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 0.5;
        let y = p * (r * r) + r + 1.0;
        y * Self::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.ln()
    }
    fn singles(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }
    fn singles_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }
}

/// Partial sums kept side by side, so that a reduction needs no particular order of one chain.
const LANES: usize = 16;

/// Sum of products; the order of additions is fixed.
#[inline(always)]
pub(crate) fn dot<F: Float>(a: &[F], b: &[F]) -> F {
    let mut lanes = [F::ZERO; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_blocks.remainder(), b_blocks.remainder());
    for (a, b) in a_blocks.zip(b_blocks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    for i in 0..a_rest.len().min(b_rest.len()) {
        lanes[i] += a_rest[i] * b_rest[i];
    }
    fold(lanes)
}

/// Greatest value of a row that is not empty.
#[inline(always)]
pub(crate) fn greatest<F: Float>(row: &[F]) -> F {
    let mut lanes = [row[0]; LANES];
    let blocks = row.chunks_exact(LANES);
    for (i, x) in blocks.remainder().iter().enumerate() {
        lanes[i] = if *x > lanes[i] { *x } else { lanes[i] };
    }
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = if block[i] > lanes[i] { block[i] } else { lanes[i] };
        }
    }
    lanes.into_iter().fold(lanes[0], |m, x| if x > m { x } else { m })
}

/// Replaces each x by exp(x - `shift`) and returns the sum.
#[inline(always)]
pub(crate) fn exponentiate<F: Float>(row: &mut [F], shift: F) -> F {
    let mut lanes = [F::ZERO; LANES];
    let mut blocks = row.chunks_exact_mut(LANES);
    for block in &mut blocks {
        for i in 0..LANES {
            block[i] = (block[i] - shift).exp();
            lanes[i] += block[i];
        }
    }
    for (i, x) in blocks.into_remainder().iter_mut().enumerate() {
        *x = (*x - shift).exp();
        lanes[i] += *x;
    }
    fold(lanes)
}

/// Sum of a row; the order of additions is fixed.
#[inline(always)]
pub(crate) fn sum<F: Float>(row: &[F]) -> F {
    let mut lanes = [F::ZERO; LANES];
    let blocks = row.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for i in 0..LANES {
            lanes[i] += block[i];
        }
    }
    for (i, x) in rest.iter().enumerate() {
        lanes[i] += *x;
    }
    fold(lanes)
}

#[inline(always)]
fn fold<F: Float>(mut lanes: [F; LANES]) -> F {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            let other = lanes[i + width];
            lanes[i] += other;
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::{Float, dot, exponentiate, greatest, sum};

    #[test]
    fn exponential_is_within_two_ulp() {
        for i in -870_000..880_000_i32 {
            let x = f64::from(i) as f32 * 1e-4;
            let (found, right) = (f64::from(Float::exp(x)), f64::from(x).exp());
            assert!((found / right - 1.0).abs() < 2.4e-7, "exp({x}) = {found}, not {right}");
        }
        assert!(Float::exp(-1e30_f32) < 1.7e-38);
    }

    #[test]
    fn reductions_cover_every_length() {
        for n in 1..70_usize {
            let a: Vec<f64> = (0..n).map(|i| ((i * 37) % 23) as f64 - 11.0).collect();
            let right: f64 = a.iter().map(|x| x * x).sum();
            assert_eq!(dot(&a, &a), right);
            assert_eq!(sum(&a), a.iter().sum::<f64>());
            assert_eq!(greatest(&a), a.iter().copied().fold(f64::MIN, f64::max));
            let mut e = a.clone();
            let sum = exponentiate(&mut e, 2.0);
            assert!((sum / a.iter().map(|x| (x - 2.0).exp()).sum::<f64>() - 1.0).abs() < 1e-14);
        }
    }
}
