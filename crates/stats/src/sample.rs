//! How many independent rows a decision needs. Knows rates, not rows.
use crate::binomial::{binomial_tail, clopper_pearson, real};

/// Above this many rows "collect more" is no advice any more.
const MOST: u64 = 100_000;

/// Fewest rows, all of them right, whose exact lower bound reaches `bar`: 59 for 0.95 at 5 %. None
/// for a bar that no number of rows reaches.
#[must_use]
pub fn zero_error_n(bar: f64, alpha: f64) -> Option<u64> {
    if bar <= 0.0 {
        return Some(1);
    }
    smallest(1, MOST * 100, |n| real(n) * bar.ln() <= alpha.ln())
}

/// Fewest successes of `n` whose exact lower bound reaches `bar`. None where even `n` of `n` do not.
#[must_use]
pub fn fewest_successes(n: u64, bar: f64, alpha: f64) -> Option<u64> {
    // The bound reaches the bar exactly where the tail at the bar is alpha or less.
    smallest(0, n, |x| binomial_tail(x, n, bar) <= alpha)
}

/// Fewest rows at which a true rate of `truth` passes the exact test against `bar` with probability
/// `power` (power is a sawtooth in `n`; this is its first tooth that reaches, above 500 rows to within
/// half a percent). None where `truth` is
/// not above `bar`, or more than 100,000 rows would be needed.
#[must_use]
pub fn power_n(bar: f64, truth: f64, alpha: f64, power: f64) -> Option<u64> {
    if truth <= bar {
        return None;
    }
    let reaches = |n: u64| fewest_successes(n, bar, alpha).is_some_and(|x| binomial_tail(x, n, truth) >= power);
    // The sawtooth forbids bisection for the first tooth, but its envelope grows: find a power of two
    // that reaches, then walk up from where even a smooth curve could not.
    let start = zero_error_n(bar, alpha)?;
    let mut high = start;
    while !reaches(high) && !reaches(high + high / 16) {
        high *= 2;
        if high > MOST {
            return None;
        }
    }
    let from = if high == start { start } else { high / 2 };
    (from..=high + high / 16).step_by((high / 500).max(1) as usize).find(|&n| reaches(n))
}

/// Fewest rows at which the upper bound of the rate `x / n`, seen again at the same rate, falls below
/// `bar`. None where the rate is not below the bar, or more than 100,000 rows would be needed.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of at most 100,000")]
pub fn refuting_n(bar: f64, rate: f64, alpha: f64) -> Option<u64> {
    if rate >= bar {
        return None;
    }
    smallest(1, MOST, |n| clopper_pearson((rate * real(n)).round() as u64, n, alpha).upper < bar)
}

/// Smallest value of `low..=high` for which a condition holds that, once true, stays true.
fn smallest(low: u64, high: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if low > high || !holds(high) {
        return None;
    }
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::{fewest_successes, power_n, refuting_n, zero_error_n};
    use crate::clopper_pearson;

    #[test]
    fn row_counts_match_the_reference() {
        for (bar, n) in [(0.90, 29), (0.95, 59), (0.97, 99), (0.98, 149), (0.99, 299)] {
            assert_eq!(zero_error_n(bar, 0.05), Some(n));
        }
        for (bar, truth, n) in
            [(0.90, 0.95, 179), (0.90, 0.97, 76), (0.95, 0.98, 234), (0.95, 0.99, 124), (0.97, 0.99, 303), (0.98, 0.995, 386)]
        {
            assert_eq!(power_n(bar, truth, 0.05, 0.8), Some(n), "{bar} {truth}");
        }
        assert_eq!(power_n(0.95, 1.0, 0.05, 0.8), Some(59));
        let large = power_n(0.95, 0.955, 0.05, 0.8).expect("a small difference needs many rows, not infinitely many");
        assert!((11_000..13_000).contains(&large), "{large}");
        assert_eq!(power_n(0.95, 0.95, 0.05, 0.8), None);
        assert_eq!(zero_error_n(1.0, 0.05), None);
    }

    #[test]
    fn critical_counts_are_where_the_bound_crosses() {
        for n in [59_u64, 100, 250, 1_000] {
            let x = fewest_successes(n, 0.95, 0.05).expect("59 rows can reach 0.95");
            assert!(clopper_pearson(x, n, 0.05).lower >= 0.95 - 1e-9);
            assert!(clopper_pearson(x - 1, n, 0.05).lower < 0.95);
        }
        assert_eq!(fewest_successes(58, 0.95, 0.05), None);
        let n = refuting_n(0.95, 0.8, 0.05).expect("0.8 is below 0.95");
        assert!((5..60).contains(&n), "{n}");
    }
}
