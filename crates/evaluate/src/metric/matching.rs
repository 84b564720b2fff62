//! Maximum bipartite matching by augmenting paths (Kuhn). Knows places, not what is matched.

/// For each of `left` places the one of `right` places it is matched with, as many as possible, each
/// at most once.
pub(crate) fn matching(left: usize, right: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
    let edges: Vec<Vec<usize>> = (0..left).map(|l| (0..right).filter(|&r| fits(l, r)).collect()).collect();
    let mut owner = vec![None; right];
    for l in 0..left {
        augment(l, &edges, &mut vec![false; right], &mut owner);
    }
    let mut matched = vec![None; left];
    for (r, owner) in owner.into_iter().enumerate() {
        if let Some(l) = owner {
            matched[l] = Some(r);
        }
    }
    matched
}

fn augment(l: usize, edges: &[Vec<usize>], seen: &mut [bool], owner: &mut [Option<usize>]) -> bool {
    for &r in &edges[l] {
        if std::mem::replace(&mut seen[r], true) {
            continue;
        }
        if owner[r].is_none_or(|other| augment(other, edges, seen, owner)) {
            owner[r] = Some(l);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::matching;

    #[test]
    fn greedy_would_fail_here() {
        // 0 fits both, 1 fits only the place that 0 would grab first.
        let fits = |l, r| matches!((l, r), (0, 0) | (0, 1) | (1, 0));
        assert_eq!(matching(2, 2, fits), [Some(1), Some(0)]);
        assert_eq!(matching(2, 1, |_, _| true).iter().flatten().count(), 1);
        assert!(matching(0, 3, |_, _| true).is_empty());
    }
}
