//! What model families do differently beside the products of a layer, and how a branch of a layer joins the residual stream.
//! Knows slices, no family by name.
use super::float::Float;
use super::kernels::{add, rms_norm, rms_norm_back};
use super::layer::Shared;
use super::linear::Form;
use super::matmul::Old;
use super::parameters::Linear;
use crate::{Activation, Config};

/// What families do differently beside the products. Which norms a layer has, its gains say.
#[derive(Clone, Copy)]
pub(super) struct Style<F> {
    /// Of the gate.
    pub activation: Activation,
    /// Factor on embeddings.
    pub embedding: F,
    /// Factor on logits.
    pub logits: F,
    /// Values that the additional norms keep for each row.
    pub norms: usize,
}

impl<F: Float> Style<F> {
    pub fn of(config: &Config) -> Self {
        let heads = config.num_attention_heads + config.num_key_value_heads;
        let head_norms = if config.head_norms { heads * (config.head_dim + 1) } else { 0 };
        let branch_norms = if config.branch_norms { 2 * (config.hidden_size + 1) } else { 0 };
        Self {
            activation: config.activation,
            embedding: F::from_f64(config.embedding_multiplier),
            logits: F::from_f64(config.logits_divisor.recip()),
            norms: head_norms + branch_norms,
        }
    }
}

impl<F: Float> Shared<F> {
    /// Adds a linear of `x` to the residual stream `y`: as it is, or where there is a gain, normed, with what the way back needs kept.
    pub fn join(
        &self,
        form: Form<F>,
        linear: &Linear<F>,
        gain: &[F],
        (x, low): (&[F], &mut [F]),
        y: &mut [F],
        (branch, inverse, normed): (&mut [F], &mut [F], &mut [F]),
    ) {
        if gain.is_empty() {
            return form.forward(linear, x, y, Old::Add, low);
        }
        form.forward(linear, x, branch, Old::Drop, low);
        rms_norm(branch, gain, self.eps, normed, inverse);
        add(y, normed);
    }

    /// Way back through [`Shared::join`], from `dy` to the gradient of the linear's input, `dx`.
    pub fn join_back(
        form: Form<F>,
        (linear, gradient): (&Linear<F>, &mut Linear<F>),
        (gain, dgain): (&[F], &mut [F]),
        (x, low): (&[F], &[F]),
        (branch, inverse, dbranch): (&[F], &[F], &mut [F]),
        (dy, dx): (&[F], &mut [F]),
    ) {
        if gain.is_empty() {
            return form.backward(linear, gradient, (x, low), dy, Some(dx));
        }
        dbranch.fill(F::ZERO);
        rms_norm_back(branch, gain, inverse, dy, dbranch, dgain);
        form.backward(linear, gradient, (x, low), dbranch, Some(dx));
    }
}
