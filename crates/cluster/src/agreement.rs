//! How far two ways of sharing out the same rows agree.
use std::collections::BTreeMap;

/// Adjusted Rand index of two labellings of the same rows: 1 for the same partition, about 0 by chance.
///
/// Hubert and Arabie 1985. Two labellings that are both trivial (one cluster, or all rows apart) agree: 1.
///
/// ```
/// assert_eq!(cluster::adjusted_rand(&[0, 0, 1, 1], &["b", "b", "a", "a"]), 1.0);
/// assert!((cluster::adjusted_rand(&[0, 0, 1, 1], &[0, 1, 0, 1]) + 0.5).abs() < 1e-12);
/// ```
#[must_use]
pub fn adjusted_rand<A: Ord, B: Ord>(one: &[A], two: &[B]) -> f64 {
    let mut cells: BTreeMap<(&A, &B), u64> = BTreeMap::new();
    let (mut rows, mut columns): (BTreeMap<&A, u64>, BTreeMap<&B, u64>) = Default::default();
    for (a, b) in one.iter().zip(two) {
        *cells.entry((a, b)).or_default() += 1;
        *rows.entry(a).or_default() += 1;
        *columns.entry(b).or_default() += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "pair counts of a log stay far below 2^53")]
    let pairs = |n: u64| (n * n.saturating_sub(1) / 2) as f64;
    let all = pairs(one.len().min(two.len()) as u64);
    let together: f64 = cells.values().map(|n| pairs(*n)).sum();
    let (a, b): (f64, f64) = (rows.values().map(|n| pairs(*n)).sum(), columns.values().map(|n| pairs(*n)).sum());
    let chance = if all > 0.0 { a * b / all } else { 0.0 };
    let best = f64::midpoint(a, b);
    if (best - chance).abs() < f64::EPSILON { 1.0 } else { (together - chance) / (best - chance) }
}
