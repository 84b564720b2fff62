//! Sparse vectors over segments: sorted lists of (segment hash, weight). Pure arithmetic.

/// Sorted by hash, no hash twice.
pub(crate) type Sparse = Vec<(u64, f32)>;

/// Sorts and joins entries of one hash, keeping the largest weight.
pub(crate) fn from_entries(mut entries: Sparse) -> Sparse {
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    entries.dedup_by_key(|entry| entry.0);
    entries
}

/// Squared length.
pub(crate) fn square(vector: &[(u64, f32)]) -> f32 {
    vector.iter().map(|(_, w)| w * w).sum()
}

/// Inner product.
pub(crate) fn dot(a: &[(u64, f32)], b: &[(u64, f32)]) -> f32 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        match x.0.cmp(&y.0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += x.1 * y.1;
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    sum
}

/// Cosine; 0 where either is empty.
pub(crate) fn cosine(a: &[(u64, f32)], b: &[(u64, f32)]) -> f32 {
    let size = (square(a) * square(b)).sqrt();
    if size > 0.0 { dot(a, b) / size } else { 0.0 }
}

/// `a·x + b·y`.
pub(crate) fn blend(x: &[(u64, f32)], a: f32, y: &[(u64, f32)], b: f32) -> Sparse {
    let (mut i, mut j, mut out) = (0, 0, Vec::with_capacity(x.len() + y.len()));
    loop {
        match (x.get(i), y.get(j)) {
            (Some(p), Some(q)) if p.0 == q.0 => {
                out.push((p.0, a * p.1 + b * q.1));
                (i, j) = (i + 1, j + 1);
            }
            (Some(p), q) if q.is_none_or(|q| p.0 < q.0) => {
                out.push((p.0, a * p.1));
                i += 1;
            }
            (_, Some(q)) => {
                out.push((q.0, b * q.1));
                j += 1;
            }
            (_, None) => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{blend, cosine, from_entries};

    #[test]
    fn blending_keeps_every_entry_once() {
        let (x, y) = (vec![(1, 1.0), (3, 2.0)], vec![(2, 1.0), (3, 1.0), (9, 4.0)]);
        assert_eq!(blend(&x, 1.0, &y, 0.5), [(1, 1.0), (2, 0.5), (3, 2.5), (9, 2.0)]);
        assert_eq!(blend(&[], 1.0, &y, 1.0), y);
        assert!((cosine(&x, &x) - 1.0).abs() < 1e-6);
        assert!(cosine(&x, &[]).abs() < f32::EPSILON);
        assert_eq!(from_entries(vec![(2, 1.0), (1, 1.0), (2, 3.0)]), [(1, 1.0), (2, 3.0)]);
    }
}
