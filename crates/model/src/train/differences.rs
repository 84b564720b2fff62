//! Central differences, against which the tests of this module check every way back.

/// Values without pattern in ±1.
pub(super) fn wave(count: usize, seed: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 37 + seed * 11) as f64).sin()).collect()
}

/// Checks `gradient` of the product of `pull` with what `forward` makes of `x`, at a few dozen entries and the last.
pub(super) fn agree(x: &[f64], gradient: &[f64], pull: &[f64], forward: impl Fn(&[f64]) -> Vec<f64>) {
    let value = |x: &[f64]| forward(x).iter().zip(pull).map(|(a, b)| a * b).sum::<f64>();
    for at in (0..x.len()).step_by(x.len() / 40 + 1).chain([x.len() - 1]) {
        let moved = |step: f64| {
            let mut x = x.to_vec();
            x[at] += step;
            value(&x)
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((slope - gradient[at]).abs() < 1e-7 * (1.0 + slope.abs()), "entry {at}: {slope} by difference, {} found", gradient[at]);
    }
}
