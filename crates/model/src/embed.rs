//! Texts to vectors of length one, near where texts are alike. Knows no task and no cluster.
mod bert;
mod hash;

pub use bert::BertEmbedder;
pub use hash::HashEmbedder;

use crate::Error;

/// Turns texts into vectors.
pub trait Embedder: Sync {
    /// One vector of [`Embedder::dimension`] values a text, in order, each of Euclidean length 1 (or all zero where a text says nothing).
    ///
    /// # Errors
    /// When a text cannot be tokenized or a tensor operation fails.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error>;

    /// Values of a vector.
    fn dimension(&self) -> usize;
}

/// Scales a vector to length one; zeros stay zeros.
fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "the values are f32")]
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}
