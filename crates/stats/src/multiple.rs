//! Several tests at once. Knows p-values.

/// Holm's step-down: which hypotheses are rejected with the chance of any false one at most `alpha`.
/// In the order given.
#[must_use]
pub fn holm(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let order = ascending(p_values);
    let mut rejected = vec![false; p_values.len()];
    for (place, &index) in order.iter().enumerate() {
        if p_values[index] > alpha / (p_values.len() - place) as f64 {
            break;
        }
        rejected[index] = true;
    }
    rejected
}

/// Benjamini and Hochberg: which hypotheses are rejected with the expected share of false ones at
/// most `alpha`. For summary tables, never for a decision on one task.
#[must_use]
pub fn benjamini_hochberg(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let order = ascending(p_values);
    let fits = |place: usize| p_values[order[place]] <= alpha * (place + 1) as f64 / p_values.len() as f64;
    let kept = (0..order.len()).rev().find(|&place| fits(place)).map_or(0, |place| place + 1);
    let mut rejected = vec![false; p_values.len()];
    order[..kept].iter().for_each(|&index| rejected[index] = true);
    rejected
}

fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<_> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::{benjamini_hochberg, holm};

    #[test]
    fn step_down_stops_at_the_first_that_fails() {
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005], 0.05), [true, false, false, true]);
        assert_eq!(holm(&[0.01, 0.02, 0.03], 0.05), [true, true, true]);
        assert!(holm(&[], 0.05).is_empty());
    }

    #[test]
    fn step_up_keeps_all_below_the_last_that_fits() {
        assert_eq!(benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005], 0.05), [true; 4]);
        assert_eq!(benjamini_hochberg(&[0.01, 0.9, 0.039, 0.2], 0.05), [true, false, false, false]);
    }
}
