//! What the loop trains: named parameters that turn sequences into a loss and gradients.
//!
//! A trait rather than the model itself, so that the loop can be tested on a learner of a few numbers.
use std::collections::BTreeMap;

use candle_core::Var;

use crate::Error;
pub use model::train::{Gradients, Loss, Sequence};

/// Trainable parameters by name.
pub type Parameters = BTreeMap<String, Var>;

/// A model that can be trained. Implemented by [`model::train::TrainModel`].
pub trait Learner {
    /// The parameters that learn, in f32.
    fn parameters(&self) -> &Parameters;

    /// Loss of a micro-batch and the gradients of its sum (not of its mean).
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn loss_and_gradients(&self, sequences: &[Sequence]) -> Result<(Loss, Gradients), Error>;

    /// Loss of a micro-batch.
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn loss(&self, sequences: &[Sequence]) -> Result<Loss, Error>;
}

impl Learner for model::train::TrainModel {
    fn parameters(&self) -> &Parameters {
        self.parameters()
    }

    fn loss_and_gradients(&self, sequences: &[Sequence]) -> Result<(Loss, Gradients), Error> {
        Ok(self.loss_and_gradients(sequences)?)
    }

    fn loss(&self, sequences: &[Sequence]) -> Result<Loss, Error> {
        Ok(self.loss(sequences)?)
    }
}
