//! What the loop trains: named parameters that turn sequences into a loss and gradients.
//!
//! A trait rather than the model itself, so that the loop can be tested on a learner of a few numbers.
use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::Error;

/// Tokens with their loss targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Target of each position, where it carries loss.
    pub targets: Vec<Option<u32>>,
    /// Weight of each target.
    pub weight: f32,
}

/// A summed loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Sum of weighted losses, nats.
    pub sum: f64,
    /// Sum of weights.
    pub weight: f64,
}

/// Gradients by parameter.
pub type Gradients = BTreeMap<String, Tensor>;

/// Trainable parameters by name.
pub type Parameters = BTreeMap<String, Var>;

/// A model that can be trained.
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
