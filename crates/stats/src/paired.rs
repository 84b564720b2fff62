//! Two answers to the same question: is one not worse, are they different. Knows counts of
//! discordant pairs, not who answered.
use crate::beta::bisect;
use crate::binomial::{binomial_cdf, real};
use crate::normal_quantile;

/// Score bound of Tango (Statistics in Medicine 1998): the one-sided lower bound, of level
/// `1 - alpha`, of the difference `p_new - p_old` of paired proportions.
///
/// `b` pairs where only the old one is right, `c` where only the new one is, `n` pairs in all. No
/// pairs give -1.
#[must_use]
pub fn tango_lower(b: u64, c: u64, n: u64, alpha: f64) -> f64 {
    if n == 0 {
        return -1.0;
    }
    let z = normal_quantile(1.0 - alpha);
    let (b, c, n) = (real(b), real(c), real(n));
    if b + c == 0.0 {
        return -z * z / (n + z * z);
    }
    bisect(-1.0, (c - b) / n, |theta| tango_score(b, c, n, theta) > z)
}

/// Tango's statistic for a true difference of `theta`: falls as `theta` grows.
fn tango_score(b: f64, c: f64, n: f64, theta: f64) -> f64 {
    let (qa, qb) = (2.0 * n, -b - c + (2.0 * n - c + b) * theta);
    let qc = -b * theta * (1.0 - theta);
    let q = ((qb * qb - 4.0 * qa * qc).max(0.0).sqrt() - qb) / (2.0 * qa);
    let variance = n * (2.0 * q + theta * (1.0 - theta));
    let distance = (c - b) - n * theta;
    if variance <= 0.0 { distance.signum() * f64::INFINITY } else { distance / variance.sqrt() }
}

/// The two p-values of McNemar's test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// Exact two-sided p-value.
    pub exact: f64,
    /// Two-sided mid-p-value: less conservative, not exact.
    pub mid_p: f64,
}

/// McNemar's test on `b` and `c` discordant pairs. It asks whether two answerers differ; failing to
/// reject is no proof that they are equal, so it must not gate anything.
#[must_use]
pub fn mcnemar(b: u64, c: u64) -> McNemar {
    let (n, k) = (b + c, b.min(c));
    if n == 0 {
        return McNemar { exact: 1.0, mid_p: 1.0 };
    }
    let tail = binomial_cdf(k, n, 0.5);
    let point = if k == 0 { tail } else { tail - binomial_cdf(k - 1, n, 0.5) };
    let mid_p = if b == c { 1.0 - 0.5 * point } else { 2.0 * tail - point };
    McNemar { exact: (2.0 * tail).min(1.0), mid_p: mid_p.min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::{mcnemar, tango_lower};
    use crate::close;

    #[test]
    fn tango_and_mcnemar_match_the_reference() {
        for (b, c, n, lower) in [(5, 2, 200, -0.041_823), (0, 0, 100, -0.026_343), (12, 8, 400, -0.029_919), (3, 9, 150, 0.002_251)] {
            close(tango_lower(b, c, n, 0.05), lower, 1e-6);
        }
        let p = mcnemar(8, 2);
        close(p.exact, 0.109_375, 1e-9);
        close(p.mid_p, 0.065_430, 1e-6);
        assert_eq!(mcnemar(3, 3).exact, 1.0);
    }

    #[test]
    fn more_losses_lower_the_bound() {
        for b in 0..40 {
            assert!(tango_lower(b + 1, 4, 100, 0.05) < tango_lower(b, 4, 100, 0.05), "{b}");
        }
        assert!(tango_lower(0, 100, 100, 0.05) > 0.9);
        assert!(tango_lower(100, 0, 100, 0.05) >= -1.0);
    }
}
