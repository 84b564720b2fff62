//! Bounds for scores that come in groups (rows of one conversation, answers to one prompt). Knows
//! groups of numbers, not what they are.
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::binomial::{Bounds, clopper_pearson, clopper_pearson_real, real, wilson_real};
use crate::t_quantile;

/// Below this many groups the variance between groups is too poorly known, and one row per group is taken.
pub const FEW_GROUPS: usize = 60;
/// Below this many groups with a failure (or a success) the design effect is pulled towards its
/// largest value, one that makes rows of a group copies of each other.
const FEW_FAILING: f64 = 16.0;

/// A mean with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean over all rows.
    pub mean: f64,
    /// One-sided bounds.
    pub bounds: Bounds,
    /// Independent rows that the bounds are worth.
    pub n_effective: f64,
    /// `clopper-pearson`, `one-per-group`, `clustered-wilson`, `clustered-t`,
    /// `graded-clopper-pearson` or `cluster-bootstrap`.
    pub method: &'static str,
}

/// Bounds for the mean of zeros and ones in groups. None without rows.
///
/// * every group of one row: Clopper-Pearson on all rows;
/// * below [`FEW_GROUPS`] groups: one row of each, chosen by `seed`, and Clopper-Pearson;
/// * else: the design effect (variance between groups over that of independent rows) shrinks `n`,
///   and the bound is the weaker one of Wilson's with the t quantile and of Korn and Graubard's.
///
/// The design effect cannot be seen where hardly any group fails, so it is then pulled towards its
/// largest value; otherwise a thousand rows of sixty groups without an error would count a thousand.
#[must_use]
pub fn clustered_binary(groups: &[Vec<f64>], alpha: f64, seed: u64) -> Option<Estimate> {
    let total = Totals::of(groups)?;
    let one_each = total.groups.len() == total.rows;
    let (bounds, n_effective, method) = if one_each || total.groups.len() < FEW_GROUPS {
        let (x, n) = one_per_group(groups, seed);
        (clopper_pearson(x, n, alpha), real(n), if one_each { "clopper-pearson" } else { "one-per-group" })
    } else {
        let n = total.n / total.design_effect();
        let score = wilson_real(total.mean * n, n, t_quantile(1.0 - alpha, total.c - 1.0));
        let exact = clopper_pearson_real(total.mean * n, n, alpha);
        (Bounds { lower: score.lower.min(exact.lower), upper: score.upper.max(exact.upper) }, n, "clustered-wilson")
    };
    // The rows picked may be luckier or unluckier than all rows; the bound never promises more than the mean shows.
    let bounds = Bounds { lower: bounds.lower.min(total.mean), upper: bounds.upper.max(total.mean) };
    Some(Estimate { mean: total.mean, bounds, n_effective, method })
}

/// One place below each size, chosen by `seed`; none for a size of zero. The independent rows among
/// rows that come in groups.
#[must_use]
pub fn pick_per_group(sizes: &[usize], seed: u64) -> Vec<Option<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    sizes.iter().map(|&size| (size > 0).then(|| random.random_range(0..size as u64) as usize)).collect()
}

/// Successes and trials when one row of each group is taken, chosen by `seed`. Scores from 0.5 count as successes.
#[must_use]
pub fn one_per_group(groups: &[Vec<f64>], seed: u64) -> (u64, u64) {
    let sizes: Vec<_> = groups.iter().map(Vec::len).collect();
    let picked = groups.iter().zip(pick_per_group(&sizes, seed)).filter_map(|(group, place)| group.get(place?));
    picked.fold((0, 0), |(x, n), score| (x + u64::from(*score >= 0.5), n + 1))
}

/// Bounds for the mean of graded scores in `[0, 1]`: clustered standard error with the factor
/// `C / (C - 1)` and t quantiles with `C - 1` degrees of freedom (Miller, arXiv 2411.00640). None for
/// under two groups: unknown is not zero.
#[must_use]
pub fn clustered_mean(groups: &[Vec<f64>], alpha: f64) -> Option<Estimate> {
    let total = Totals::of(groups)?;
    if total.groups.len() < 2 {
        return None;
    }
    let spread = t_quantile(1.0 - alpha, total.c - 1.0) * total.variance().sqrt();
    let bounds = Bounds { lower: total.mean - spread, upper: total.mean + spread };
    Some(Estimate { mean: total.mean, bounds, n_effective: total.c, method: "clustered-t" })
}

/// Bounds for the mean of graded scores in `[0, 1]` that do not pretend to know more than they can:
/// [`clustered_mean`] where at least [`FEW_GROUPS`] groups, and a third as many imperfect ones, tell
/// the variance; else each group counts once and its mean as a fraction of a success in
/// Clopper-Pearson, which is conservative since no score in `[0, 1]` varies more than zeros and ones.
/// None without rows.
#[must_use]
pub fn clustered_graded(groups: &[Vec<f64>], alpha: f64) -> Option<Estimate> {
    let total = Totals::of(groups)?;
    let imperfect = total.groups.iter().filter(|(sum, m)| sum < m).count();
    if total.groups.len() >= FEW_GROUPS && 3 * imperfect >= FEW_GROUPS {
        return clustered_mean(groups, alpha).map(|mut estimate| {
            estimate.bounds = Bounds { lower: estimate.bounds.lower.max(0.0), upper: estimate.bounds.upper.min(1.0) };
            estimate
        });
    }
    let sum: f64 = total.groups.iter().map(|(sum, m)| (sum / m).clamp(0.0, 1.0)).sum();
    let bounds = clopper_pearson_real(sum.min(total.c), total.c, alpha);
    let bounds = Bounds { lower: bounds.lower.min(total.mean), upper: bounds.upper.max(total.mean) };
    Some(Estimate { mean: total.mean, bounds, n_effective: total.c, method: "graded-clopper-pearson" })
}

/// Percentile bounds from `draws` resamplings of whole groups. None for under two groups.
#[must_use]
pub fn cluster_bootstrap(groups: &[Vec<f64>], draws: usize, alpha: f64, seed: u64) -> Option<Estimate> {
    let total = Totals::of(groups)?;
    let count = total.groups.len();
    if count < 2 || draws == 0 {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..draws)
        .map(|_| {
            let picked = (0..count).map(|_| total.groups[random.random_range(0..count)]);
            let (sum, n) = picked.fold((0.0, 0.0), |(sum, n), (s, m)| (sum + s, n + m));
            sum / n
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let bounds = Bounds { lower: quantile(&means, alpha), upper: quantile(&means, 1.0 - alpha) };
    Some(Estimate { mean: total.mean, bounds, n_effective: total.c, method: "cluster-bootstrap" })
}

/// Quantile of sorted values by linear interpolation (R type 7, NumPy's default).
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place within the slice")]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * real(last as u64);
    let low = place.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (place - place.floor()) * (sorted[high] - sorted[low])
}

/// Sums over groups.
struct Totals {
    /// Sum and number of each group that is not empty.
    groups: Vec<(f64, f64)>,
    rows: usize,
    n: f64,
    c: f64,
    mean: f64,
}

impl Totals {
    fn of(groups: &[Vec<f64>]) -> Option<Self> {
        let rows = groups.iter().map(Vec::len).sum();
        let groups: Vec<_> =
            groups.iter().filter(|group| !group.is_empty()).map(|g| (g.iter().sum::<f64>(), real(g.len() as u64))).collect();
        let n: f64 = groups.iter().map(|group| group.1).sum();
        let sum: f64 = groups.iter().map(|group| group.0).sum();
        let c = real(groups.len() as u64);
        (n > 0.0).then(|| Self { rows, n, c, mean: sum / n, groups })
    }

    /// Variance of the mean from the sums of residuals within groups.
    fn variance(&self) -> f64 {
        let squares: f64 = self.groups.iter().map(|(sum, m)| (sum - m * self.mean).powi(2)).sum();
        self.c / (self.c - 1.0) * squares / (self.n * self.n)
    }

    /// How many rows count as one, for zeros and ones.
    fn design_effect(&self) -> f64 {
        let largest = self.groups.iter().map(|(_, m)| m * m).sum::<f64>() / self.n;
        let independent = self.mean * (1.0 - self.mean) / self.n;
        let measured = if independent > 0.0 { self.variance() / independent } else { largest };
        let failing = self.groups.iter().filter(|(sum, m)| sum < m).count().min(self.groups.iter().filter(|(sum, _)| *sum > 0.0).count());
        let known = (real(failing as u64) / FEW_FAILING).min(1.0);
        (known * measured + (1.0 - known) * measured.max(largest)).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{cluster_bootstrap, clustered_binary, clustered_graded, clustered_mean, one_per_group, quantile};
    use crate::{clopper_pearson, close};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn rows(ones: usize, n: usize) -> Vec<Vec<f64>> {
        (0..n).map(|i| vec![f64::from(u8::from(i < ones))]).collect()
    }

    #[test]
    fn single_rows_get_the_exact_bound() {
        let estimate = clustered_binary(&rows(97, 100), 0.05, 1).expect("one hundred rows");
        assert_eq!((estimate.bounds, estimate.method), (clopper_pearson(97, 100, 0.05), "clopper-pearson"));
        assert_eq!(clustered_binary(&[], 0.05, 1), None);
        assert_eq!(clustered_mean(&[vec![1.0, 0.5]], 0.05), None);
    }

    #[test]
    fn few_groups_count_once_each() {
        let groups = vec![vec![1.0; 50]; 20];
        let estimate = clustered_binary(&groups, 0.05, 1).expect("rows");
        close(estimate.bounds.lower, clopper_pearson(20, 20, 0.05).lower, 1e-12);
        assert_eq!((estimate.method, one_per_group(&groups, 9)), ("one-per-group", (20, 20)));
    }

    #[test]
    fn many_rows_of_few_groups_without_error_do_not_certify() {
        let estimate = clustered_binary(&vec![vec![1.0; 50]; 60], 0.05, 1).expect("rows");
        assert!(estimate.bounds.lower < 0.9515, "{}", estimate.bounds.lower);
        // One error more never raises the bound.
        let mut groups = vec![vec![1.0; 5]; 100];
        let mut before = f64::INFINITY;
        for failing in 0..40 {
            let lower = clustered_binary(&groups, 0.05, 1).expect("rows").bounds.lower;
            assert!(lower < before + 1e-12, "{failing} failing groups: {lower} after {before}");
            before = lower;
            groups[failing][0] = 0.0;
        }
    }

    /// Groups of 5 rows of true rate `p` whose rows are copies of one draw with probability `copy`.
    fn draw(random: &mut ChaCha8Rng, count: usize, p: f64, copy: f64) -> Vec<Vec<f64>> {
        let one = |random: &mut ChaCha8Rng| f64::from(u8::from(random.random_bool(p)));
        (0..count)
            .map(|_| {
                let shared = one(random);
                (0..5).map(|_| if random.random_bool(copy) { shared } else { one(random) }).collect()
            })
            .collect()
    }

    #[test]
    fn clustered_bounds_err_about_at_their_level() {
        // (groups, truth, copying): the naive bound errs 12 % to 20 % here.
        for (count, p, copy) in [(30, 0.95, 0.6), (60, 0.95, 0.6), (60, 0.98, 0.8), (100, 0.99, 0.9), (250, 0.95, 0.6)] {
            let mut random = ChaCha8Rng::seed_from_u64(count as u64);
            let runs = 1_000;
            let wrong =
                (0..runs).filter(|&seed| clustered_binary(&draw(&mut random, count, p, copy), 0.05, seed).expect("rows").bounds.lower > p);
            let share = wrong.count() as f64 / runs as f64;
            assert!(share < 0.065, "{count} groups at {p}, copying {copy}: {share}");
        }
    }

    #[test]
    fn few_perfect_grades_prove_little() {
        let perfect = clustered_graded(&vec![vec![1.0]; 5], 0.05).expect("rows");
        close(perfect.bounds.lower, clopper_pearson(5, 5, 0.05).lower, 1e-12);
        let mixed: Vec<_> = (0..90).map(|i| vec![if i % 2 == 0 { 1.0 } else { 0.8 }]).collect();
        assert_eq!(clustered_graded(&mixed, 0.05).map(|e| e.method), Some("clustered-t"));
        assert_eq!(clustered_graded(&[], 0.05), None);
    }

    #[test]
    fn bootstrap_is_seeded_and_near_the_formula() {
        let groups = draw(&mut ChaCha8Rng::seed_from_u64(5), 200, 0.8, 0.5);
        let one = cluster_bootstrap(&groups, 2_000, 0.05, 42).expect("groups");
        assert_eq!(Some(one), cluster_bootstrap(&groups, 2_000, 0.05, 42));
        close(one.bounds.lower, clustered_mean(&groups, 0.05).expect("groups").bounds.lower, 0.01);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
    }
}
