//! Tests that stay valid however often one looks. Knows running totals, not nights.
use statrs::function::beta::ln_beta;

use crate::beta::ln_beta_reg;
use crate::binomial::real;

/// Logarithm of the e-value against "the success rate is `p0` or less" after `x` successes in `n`
/// trials: uniform mixture over `(p0, 1]`. By Ville's inequality it exceeds `ln(1 / alpha)` at any
/// look, ever, with probability `alpha` at most where the rate is no higher than `p0`.
#[must_use]
pub fn log_e_above(x: u64, n: u64, p0: f64) -> f64 {
    let (x, n) = (real(x.min(n)), real(n));
    let (hits, misses) = (x + 1.0, n - x + 1.0);
    let mixture = ln_beta(hits, misses) + ln_beta_reg(misses, hits, 1.0 - p0) - (1.0 - p0).ln();
    mixture - (x * p0.ln() + (n - x) * (1.0 - p0).ln())
}

/// Logarithm of the e-value against "the success rate is `p0` or more": the alarm that a model has
/// become worse. The mirror image of [`log_e_above`].
#[must_use]
pub fn log_e_below(x: u64, n: u64, p0: f64) -> f64 {
    log_e_above(n - x.min(n), n, 1.0 - p0)
}

/// The `r` that makes [`confidence_sequence_margin`] tightest some hundred rows in
/// (Waudby-Smith and others, Annals of Statistics 2024, with the choice of TensorZero).
#[must_use]
pub fn confidence_sequence_r(alpha: f64) -> f64 {
    let twice = -2.0 * alpha.ln();
    (twice + twice.ln() + 1.0).sqrt() / 10.0
}

/// Half width of the asymptotic confidence sequence for the mean of `n` independent graded scores of
/// the given variance (Proposition 2.5 there). Two-sided, of level `1 - alpha`; infinite without scores.
#[must_use]
pub fn confidence_sequence_margin(n: u64, variance: f64, alpha: f64, r: f64) -> f64 {
    if n == 0 {
        return f64::INFINITY;
    }
    let n = real(n);
    let spread = n * variance * r * r + 1.0;
    (spread / (n * n * r * r) * (spread / (alpha * alpha)).ln()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::{confidence_sequence_margin, confidence_sequence_r, log_e_above, log_e_below};
    use crate::close;
    use rand::{Rng, SeedableRng};

    #[test]
    fn e_values_match_the_reference() {
        for (x, n, log_e) in [(99, 100, 6.129_05_f64), (196, 200, 5.572_78), (285, 300, 0.276_378), (58, 58, 6.318_59)] {
            let got = log_e_above(x, n, 0.95);
            // The reference states e itself.
            close(got.exp(), log_e, 1e-5 * log_e.max(1.0));
        }
        let promotes = |n| log_e_above(n, n, 0.95) >= 20_f64.ln();
        assert!(promotes(88) && !promotes(87));
        close(log_e_below(1, 100, 0.05), log_e_above(99, 100, 0.95), 1e-9);
    }

    #[test]
    fn hopeless_and_large_totals_stay_finite() {
        for (x, n) in [(0, 10_000), (5_000, 10_000), (999_000, 1_000_000), (1_000_000, 1_000_000), (0, 0)] {
            for p0 in [0.5, 0.95, 0.999] {
                assert!(log_e_above(x, n, p0).is_finite() && log_e_below(x, n, p0).is_finite(), "{x} of {n} at {p0}");
            }
        }
        close(log_e_above(0, 0, 0.95), 0.0, 1e-9);
    }

    #[test]
    fn looking_every_night_keeps_the_level() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let runs = 2_000;
        let wrong = (0..runs)
            .filter(|_| {
                let mut x = 0;
                (1..=30_u64).any(|night| {
                    x += (0..40).filter(|_| random.random_bool(0.95)).count() as u64;
                    log_e_above(x, night * 40, 0.95) >= 20_f64.ln()
                })
            })
            .count();
        assert!(wrong * 100 < runs * 5, "{wrong} of {runs}");
    }

    #[test]
    fn confidence_sequence_matches_the_reference() {
        let r = confidence_sequence_r(0.05);
        close(r, 0.296_341, 1e-6);
        close(confidence_sequence_margin(200, 0.0196, 0.05, r), 0.049_051_1, 1e-6);
    }
}
