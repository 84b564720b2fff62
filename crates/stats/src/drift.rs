//! How far two histograms are apart. Knows counts in bins, not what was counted.
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::binomial::real;

/// Population stability index of two histograms over the same bins, in nats. Half a count is added to
/// every bin, so that an empty one is rare and not impossible. Bins missing at the end are empty.
/// Customary: below 0.1 stable, above 0.2 drifted; but see [`psi_by_chance`]. Zero without counts on
/// either side.
#[must_use]
pub fn psi(before: &[u64], after: &[u64]) -> f64 {
    let bins = before.len().max(after.len());
    if before.iter().sum::<u64>() == 0 || after.iter().sum::<u64>() == 0 {
        return 0.0;
    }
    let (p, q) = (shares(before, bins), shares(after, bins));
    p.iter().zip(&q).map(|(p, q)| (q - p) * (q / p).ln()).sum()
}

/// The index that two samples of one distribution stay below with probability `1 - alpha`: a
/// chi-squared quantile times `1/n + 1/m` (Yurdakul and Naranjo, 2020). Small samples drift by chance.
#[must_use]
pub fn psi_by_chance(bins: usize, n: u64, m: u64, alpha: f64) -> f64 {
    if bins < 2 || n == 0 || m == 0 {
        return f64::INFINITY;
    }
    let free = real(bins as u64 - 1);
    let law = ChiSquared::new(free).expect("the degrees of freedom are positive");
    law.inverse_cdf(1.0 - alpha) * (1.0 / real(n) + 1.0 / real(m))
}

fn shares(counts: &[u64], bins: usize) -> Vec<f64> {
    let total = real(counts.iter().sum()) + 0.5 * real(bins as u64);
    (0..bins).map(|bin| (counts.get(bin).copied().map_or(0.0, real) + 0.5) / total).collect()
}

#[cfg(test)]
mod tests {
    use super::{psi, psi_by_chance};
    use crate::close;
    use rand::{Rng, SeedableRng};

    #[test]
    fn equal_shares_do_not_drift_and_swapped_ones_do() {
        assert!(psi(&[100, 200, 300], &[1_000, 2_000, 3_000]) < 1e-4);
        assert!(psi(&[300, 100], &[100, 300]) > 1.0);
        close(psi(&[300, 100], &[100, 300]), psi(&[100, 300], &[300, 100]), 1e-12);
        assert_eq!(psi(&[], &[3]), 0.0);
    }

    #[test]
    fn chance_alone_rarely_passes_the_limit() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let mut draw = |n: u32| {
            let mut bins = [0; 10];
            (0..n).for_each(|_| bins[random.random_range(0..10)] += 1);
            bins
        };
        let limit = psi_by_chance(10, 200, 100, 0.05);
        let over = (0..2_000).filter(|_| psi(&draw(200), &draw(100)) > limit).count();
        assert!((40..180).contains(&over), "{over} of 2000");
    }
}
