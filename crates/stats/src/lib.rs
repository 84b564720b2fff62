//! Statistics for decisions about small models: exact and paired bounds, bounds for rows that come in
//! groups, sample sizes, tests that stay valid at every look, certified thresholds, drift.
//!
//! Pure functions of numbers; knows none of the project's nouns. `alpha` is always the chance of
//! error of *one* side: `clopper_pearson(97, 100, 0.05).lower` is a one-sided 95 % bound.
mod beta;
mod binomial;
mod certify;
mod clustered;
mod drift;
mod multiple;
mod paired;
mod partition;
mod sample;
mod sequential;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

pub use binomial::{Bounds, binomial_cdf, binomial_tail, clopper_pearson, wilson};
pub use certify::{Certified, Limits, certify};
pub use clustered::{
    Estimate, FEW_GROUPS, cluster_bootstrap, clustered_binary, clustered_graded, clustered_mean, one_per_group, pick_per_group, quantile,
};
pub use drift::{psi, psi_by_chance};
pub use multiple::{benjamini_hochberg, holm};
pub use paired::{McNemar, mcnemar, tango_lower};
pub use partition::adjusted_rand;
pub use sample::{fewest_successes, power_n, refuting_n, zero_error_n};
pub use sequential::{confidence_sequence_margin, confidence_sequence_r, log_e_above, log_e_below};

/// Quantile of the standard normal law: 1.6449 at 0.95.
#[must_use]
pub fn normal_quantile(share: f64) -> f64 {
    Normal::standard().inverse_cdf(share)
}

/// Quantile of Student's t law. Infinite without a degree of freedom.
#[must_use]
pub fn t_quantile(share: f64, degrees: f64) -> f64 {
    StudentsT::new(0.0, 1.0, degrees).map_or(f64::INFINITY, |law| law.inverse_cdf(share))
}

#[cfg(test)]
#[track_caller]
fn close(got: f64, expected: f64, within: f64) {
    assert!((got - expected).abs() <= within, "got {got}, expected {expected} within {within}");
}

#[cfg(test)]
mod golden;
