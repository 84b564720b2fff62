//! Gradients on the host: the global norm and the factor that bounds it.
use std::collections::BTreeMap;

use rayon::prelude::*;

/// Gradients by parameter name, flat and in f32.
pub(crate) type Flat = BTreeMap<String, Vec<f32>>;

/// Euclidean norm of each gradient, summed in f64 in the order of its elements: the same at any thread count.
pub(crate) fn norms(gradients: &Flat) -> BTreeMap<&str, f64> {
    let named: Vec<_> = gradients.iter().collect();
    let norms = named.into_par_iter().map(|(name, gradient)| {
        let sum: f64 = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
        (name.as_str(), sum.sqrt())
    });
    norms.collect()
}

/// Norm of all gradients together.
pub(crate) fn global(norms: &BTreeMap<&str, f64>) -> f64 {
    norms.values().map(|norm| norm * norm).sum::<f64>().sqrt()
}

/// What gradients of `norm` are multiplied with so that their norm is at most `limit` (0 means no limit).
///
/// The small constant is PyTorch's, so that clipped runs can be compared.
pub(crate) fn factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::{Flat, factor, global, norms};

    #[test]
    fn the_norm_is_over_all_parameters_and_only_shrinks() {
        let gradients: Flat = [("a".to_owned(), vec![3.0, 0.0]), ("b".to_owned(), vec![0.0, 4.0])].into();
        let norm = global(&norms(&gradients));
        assert!((norm - 5.0).abs() < 1e-12);
        assert!((factor(norm, 1.0) - 0.2).abs() < 1e-6);
        assert!((factor(norm, 10.0) - 1.0).abs() < f64::EPSILON && (factor(norm, 0.0) - 1.0).abs() < f64::EPSILON);
    }
}
