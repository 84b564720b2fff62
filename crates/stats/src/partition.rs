//! How alike two groupings of the same things are. Knows group numbers.
use std::collections::BTreeMap;

use crate::binomial::real;

/// Adjusted Rand index (Hubert and Arabie 1985) of two labelings of the same items: 1 for the same
/// grouping, about 0 for unrelated ones. None for labelings of different length or under two items.
#[must_use]
pub fn adjusted_rand<A: Ord, B: Ord>(one: &[A], two: &[B]) -> Option<f64> {
    if one.len() != two.len() || one.len() < 2 {
        return None;
    }
    let (mut cells, mut rows, mut columns) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (a, b) in one.iter().zip(two) {
        *cells.entry((a, b)).or_insert(0_u64) += 1;
        *rows.entry(a).or_insert(0_u64) += 1;
        *columns.entry(b).or_insert(0_u64) += 1;
    }
    let both: f64 = cells.values().map(|&n| pairs(n)).sum();
    let (first, second): (f64, f64) = (rows.values().map(|&n| pairs(n)).sum(), columns.values().map(|&n| pairs(n)).sum());
    let expected = first * second / pairs(one.len() as u64);
    let most = 0.5 * (first + second);
    // All in one group, or all alone, on both sides: the same grouping.
    if (most - expected).abs() < f64::EPSILON { Some(1.0) } else { Some((both - expected) / (most - expected)) }
}

fn pairs(n: u64) -> f64 {
    real(n) * (real(n) - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::adjusted_rand;
    use crate::close;

    #[test]
    fn names_of_groups_do_not_matter() {
        assert_eq!(adjusted_rand(&[0, 0, 1, 1], &["b", "b", "a", "a"]), Some(1.0));
        // scikit-learn's documented example: 0.571428…
        close(adjusted_rand(&[0, 0, 1, 2], &[0, 0, 1, 1]).expect("four items"), 0.571_428_571, 1e-9);
        close(adjusted_rand(&[0, 0, 1, 1], &[0, 1, 0, 1]).expect("four items"), -0.5, 1e-9);
        assert_eq!(adjusted_rand(&[0, 1], &[0]), None);
        assert_eq!(adjusted_rand(&[0, 0, 0], &[1, 1, 1]), Some(1.0));
    }
}
