//! A threshold with a guarantee: learn then test (Angelopoulos and others, arXiv 2110.01052) by a
//! fixed sequence. Knows confidences and whether each was right.
use crate::binomial::{binomial_cdf, real};

/// What may be certified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Largest error rate among the accepted.
    pub error: f64,
    /// Chance that the certified threshold breaks the limit.
    pub alpha: f64,
    /// Fewest accepted rows of a threshold that is tested at all.
    pub rows: u64,
    /// Thresholds tried, strict to loose.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { error: 0.05, alpha: 0.05, rows: 60, steps: 10 }
    }
}

/// A certified threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certified {
    /// Rows of at least this confidence are accepted.
    pub threshold: f64,
    /// Rows accepted.
    pub accepted: u64,
    /// Accepted rows that are wrong.
    pub errors: u64,
    /// Rows looked at.
    pub rows: u64,
    /// p-value of "the error rate of the accepted is above the limit".
    pub p_value: f64,
}

impl Certified {
    /// Share of rows accepted.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { real(self.accepted) / real(self.rows) }
    }
}

/// The loosest threshold certified by a fixed sequence of tests from strict to loose, or none.
///
/// `rows` are independent `(confidence, right)` pairs: one of each conversation. The thresholds are
/// even steps through the ranked confidences, chosen without a look at what was right, and the walk
/// ends at the first that fails; so the chance of a broken limit is `alpha`, not `alpha` a step.
#[must_use]
pub fn certify(rows: &[(f64, bool)], limits: Limits) -> Option<Certified> {
    let mut ranked: Vec<_> = rows.iter().copied().filter(|row| !row.0.is_nan()).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total = ranked.len() as u64;
    let mut best = None;
    for step in 1..=limits.steps {
        let place = (total * step / limits.steps).checked_sub(1).and_then(|place| ranked.get(usize::try_from(place).ok()?));
        let Some(&(threshold, _)) = place else { continue };
        let accepted = ranked.partition_point(|row| row.0 >= threshold);
        let errors = ranked[..accepted].iter().filter(|row| !row.1).count() as u64;
        let accepted = accepted as u64;
        if accepted < limits.rows {
            continue;
        }
        let p_value = binomial_cdf(errors, accepted, limits.error);
        if p_value > limits.alpha {
            break;
        }
        best = Some(Certified { threshold, accepted, errors, rows: rows.len() as u64, p_value });
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{Limits, certify};
    use rand::{Rng, SeedableRng};

    /// Confidence `u` is right with probability `u^0.15`: the true error of "accept from t" is known.
    fn right(u: f64) -> f64 {
        u.powf(0.15)
    }

    fn true_error(threshold: f64) -> f64 {
        // Mean of 1 - u^0.15 over [threshold, 1].
        1.0 - (1.0 - threshold.powf(1.15)) / (1.15 * (1.0 - threshold))
    }

    #[test]
    fn the_limit_holds_and_something_is_certified() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        let (mut broken, mut certified, runs) = (0, 0, 400);
        for _ in 0..runs {
            let rows: Vec<_> = (0..500)
                .map(|_| {
                    let u: f64 = random.random();
                    (u, random.random_bool(right(u)))
                })
                .collect();
            if let Some(found) = certify(&rows, Limits::default()) {
                certified += 1;
                broken += u32::from(true_error(found.threshold) > 0.05);
            }
        }
        assert!(broken <= runs / 20, "{broken} of {runs} broke the limit");
        assert!(certified > runs / 2, "{certified} of {runs} certified");
    }

    #[test]
    fn too_few_or_too_wrong_certify_nothing() {
        let perfect: Vec<_> = (0..59).map(|i| (f64::from(i), true)).collect();
        assert_eq!(certify(&perfect, Limits::default()), None);
        let wrong: Vec<_> = (0..1_000).map(|i| (f64::from(i), i % 5 != 0)).collect();
        assert_eq!(certify(&wrong, Limits::default()), None);
        assert_eq!(certify(&[], Limits::default()), None);
        let all = certify(&[(0.5, true); 100], Limits::default()).expect("one hundred right answers certify");
        assert_eq!((all.threshold, all.accepted, all.share()), (0.5, 100, 1.0));
    }
}
