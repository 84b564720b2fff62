//! Bounds for the success rate behind `x` successes in `n` independent trials.
use crate::beta::{beta_inv, ln_beta_reg};
use crate::normal_quantile;

/// Two one-sided bounds, each of level `1 - alpha`. Together they make an interval of level `1 - 2 alpha`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The true value lies below this with probability `alpha` at most.
    pub lower: f64,
    /// The true value lies above this with probability `alpha` at most.
    pub upper: f64,
}

impl Bounds {
    /// What is known of a rate without data.
    pub const VACUOUS: Self = Self { lower: 0.0, upper: 1.0 };
}

/// Exact bounds of Clopper and Pearson (Biometrika 1934). A count over `n` is taken as `n`; no
/// trials give `[0, 1]`.
#[must_use]
pub fn clopper_pearson(x: u64, n: u64, alpha: f64) -> Bounds {
    clopper_pearson_real(real(x.min(n)), real(n), alpha)
}

/// [`clopper_pearson`] for effective (fractional) counts, after Korn and Graubard (1998).
pub(crate) fn clopper_pearson_real(x: f64, n: f64, alpha: f64) -> Bounds {
    if n <= 0.0 {
        return Bounds::VACUOUS;
    }
    let lower = if x <= 0.0 { 0.0 } else { beta_inv(alpha, x, n - x + 1.0) };
    let upper = if x >= n { 1.0 } else { beta_inv(1.0 - alpha, x + 1.0, n - x) };
    Bounds { lower, upper }
}

/// Score bounds of Wilson (1927). Close to the level for middling rates, too optimistic near 1:
/// 58 of 58 gives 0.9554 where the exact bound is 0.9497.
#[must_use]
pub fn wilson(x: u64, n: u64, alpha: f64) -> Bounds {
    wilson_real(real(x.min(n)), real(n), normal_quantile(1.0 - alpha))
}

/// [`wilson`] for effective (fractional) counts and any quantile.
pub(crate) fn wilson_real(x: f64, n: f64, z: f64) -> Bounds {
    if n <= 0.0 {
        return Bounds::VACUOUS;
    }
    let p = x / n;
    let z2 = z * z;
    let centre = p + z2 / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).max(0.0).sqrt();
    let scale = 1.0 + z2 / n;
    Bounds { lower: ((centre - spread) / scale).clamp(0.0, 1.0), upper: ((centre + spread) / scale).clamp(0.0, 1.0) }
}

/// `P(X <= x)` for `n` trials of success rate `p`.
#[must_use]
pub fn binomial_cdf(x: u64, n: u64, p: f64) -> f64 {
    if x >= n {
        return 1.0;
    }
    if p <= 0.0 {
        return 1.0;
    }
    ln_beta_reg(real(n - x), real(x) + 1.0, 1.0 - p).exp()
}

/// `P(X >= x)` for `n` trials of success rate `p`, without the cancellation of `1 - P(X < x)`.
#[must_use]
pub fn binomial_tail(x: u64, n: u64, p: f64) -> f64 {
    if x == 0 {
        return 1.0;
    }
    if x > n {
        return 0.0;
    }
    ln_beta_reg(real(x), real(n - x) + 1.0, p).exp()
}

/// A count as a real number.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur, and a bound would not feel the rounding")]
pub(crate) const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{binomial_cdf, binomial_tail, clopper_pearson, wilson};
    use crate::close;

    #[test]
    fn exact_bounds_match_the_reference() {
        for (x, n, lower) in
            [(97, 100, 0.924_289), (100, 100, 0.970_487), (59, 59, 0.950_492), (285, 300, 0.924_051), (490, 500, 0.966_312)]
        {
            close(clopper_pearson(x, n, 0.05).lower, lower, 1e-6);
        }
        close(wilson(97, 100, 0.05).lower, 0.927_290, 1e-6);
        close(wilson(285, 300, 0.05).lower, 0.924_984, 1e-6);
        close(binomial_cdf(1, 93, 0.05), 0.049_976, 1e-6);
        close(binomial_tail(2, 93, 0.05), 1.0 - 0.049_976, 1e-6);
    }

    #[test]
    fn bounds_grow_with_successes_and_mirror_failures() {
        for n in [1, 2, 7, 60, 333] {
            for x in 0..=n {
                let now = clopper_pearson(x, n, 0.05);
                let mirror = clopper_pearson(n - x, n, 0.05);
                close(now.lower, 1.0 - mirror.upper, 1e-12);
                if x > 0 {
                    let before = clopper_pearson(x - 1, n, 0.05);
                    assert!(before.lower < now.lower && (before.upper < now.upper || now.upper >= 1.0), "{x} of {n}");
                }
                let score = wilson(x, n, 0.05);
                assert!(score.lower <= score.upper && (0.0..=1.0).contains(&score.lower));
            }
        }
    }

    #[test]
    fn exact_bound_errs_at_most_at_its_level() {
        // Exact, by summation: how often does the lower bound exceed the truth?
        for (n, p) in [(20, 0.9), (59, 0.95), (100, 0.95), (300, 0.99)] {
            let first = (0..=n).find(|&x| clopper_pearson(x, n, 0.05).lower > p).unwrap_or(n + 1);
            assert!(binomial_tail(first, n, p) <= 0.05 + 1e-9, "{n} {p}");
        }
    }

    #[test]
    fn no_trials_say_nothing() {
        assert_eq!((clopper_pearson(0, 0, 0.05).lower, wilson(0, 0, 0.05).upper), (0.0, 1.0));
    }
}
