//! A linear layer and a norm as tensor operations, forward and backward. What is frozen gets no gradient, not even one that
//! is thrown away. Knows one layer's tensors and their names, no decoder.
use std::collections::BTreeMap;

use candle_core::{D, Result, Tensor, Var};

use super::Sums;
use crate::train::kernels::{CUBE, SLOPE};
use crate::{Activation, Config};

/// Where the present values of parameters are found.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    /// The weights as they were loaded.
    pub base: &'a BTreeMap<String, Tensor>,
    /// What is trained, by its own name or that of an adapter's matrix.
    pub variables: &'a BTreeMap<String, Var>,
    /// α / rank of adapters.
    pub scale: f64,
}

/// A value, and its name if it is trained.
pub(super) struct Value {
    /// The tensor, outside of any graph.
    pub tensor: Tensor,
    /// The name under which its gradient is added up; none where it is frozen.
    pub learns: Option<String>,
}

impl Values<'_> {
    /// The present value of a parameter, if there is one of that name.
    pub fn find(&self, name: &str) -> Option<Value> {
        if let Some(variable) = self.variables.get(name) {
            return Some(Value { tensor: variable.as_detached_tensor(), learns: Some(name.to_owned()) });
        }
        Some(Value { tensor: self.base.get(name)?.clone(), learns: None })
    }

    /// The present value of a weight that every model has.
    pub fn weight(&self, name: &str) -> Value {
        self.find(name).expect("the weights were checked against the configuration")
    }
}

/// `y = x Wᵀ + bias + scale · (x Aᵀ) Bᵀ` over rows. Hu et al. 2021, arXiv 2106.09685.
pub(super) struct Linear {
    weight: Value,
    bias: Option<Value>,
    adapter: Option<(Value, Value)>,
    scale: f64,
}

impl Linear {
    /// The linear layer `name`, with its bias and adapter if there are such.
    pub fn new(values: Values<'_>, name: &str) -> Self {
        let adapter = (values.find(&format!("{name}.lora_A.weight")), values.find(&format!("{name}.lora_B.weight")));
        Self {
            weight: values.weight(&format!("{name}.weight")),
            bias: values.find(&format!("{name}.bias")),
            adapter: adapter.0.zip(adapter.1),
            scale: values.scale,
        }
    }

    /// Outputs (T × outputs) of rows (T × inputs), and what the adapter's way back needs: scale · x Aᵀ (T × rank).
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let mut y = x.matmul(&self.weight.tensor.t()?)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(&bias.tensor)?;
        }
        let Some((a, b)) = &self.adapter else { return Ok((y, None)) };
        let low = (x.matmul(&a.tensor.t()?)? * self.scale)?;
        Ok(((y + low.matmul(&b.tensor.t()?)?)?, Some(low)))
    }

    /// Adds the gradients of what is trained to `sums` and gives that of the input, unless nobody `wants` it.
    pub fn backward(&self, x: &Tensor, low: Option<&Tensor>, dy: &Tensor, wants: bool, sums: &mut Sums) -> Result<Option<Tensor>> {
        sums.add(&self.weight, || dy.t()?.matmul(x))?;
        if let Some(bias) = &self.bias {
            sums.add(bias, || dy.sum(0))?;
        }
        let mut dx = if wants { Some(dy.matmul(&self.weight.tensor)?) } else { None };
        if let Some(((a, b), low)) = self.adapter.as_ref().zip(low) {
            sums.add(b, || dy.t()?.matmul(low))?;
            let dlow = (dy.matmul(&b.tensor)? * self.scale)?;
            sums.add(a, || dlow.t()?.matmul(x))?;
            dx = dx.map(|dx| dx + dlow.matmul(&a.tensor)?).transpose()?;
        }
        Ok(dx)
    }
}

/// `x / rms(x) · gain` over rows, or over each head of rows. Zhang and Sennrich 2019, arXiv 1910.07467, with `eps` under the root as
/// in Llama.
pub(super) struct Norm {
    gain: Value,
    eps: f64,
}

impl Norm {
    /// The norm whose gain is `name`, to which the configuration may add an offset.
    pub fn new(values: Values<'_>, name: &str, config: &Config) -> Result<Self> {
        let mut gain = values.weight(name);
        if config.gain_offset != 0.0 {
            gain.tensor = (gain.tensor + config.gain_offset)?;
        }
        Ok(Self { gain, eps: config.rms_norm_eps })
    }

    /// [`Norm::forward`] of each head of rows (T × heads·width); 1 / rms comes as (T·heads × 1).
    pub fn heads_forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (normed, inverse) = self.forward(&self.heads(x)?)?;
        Ok((normed.reshape(x.shape())?, inverse))
    }

    /// [`Norm::backward`] of each head of rows.
    pub fn heads_backward(&self, x: &Tensor, inverse: &Tensor, dout: &Tensor, sums: &mut Sums) -> Result<Tensor> {
        self.backward(&self.heads(x)?, inverse, &self.heads(dout)?, sums)?.reshape(x.shape())
    }

    fn heads(&self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.reshape(((), self.gain.tensor.dim(0)?))
    }

    /// The normed rows (T × width), and 1 / rms of each (T × 1) for the way back.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?.recip()?;
        Ok((self.again(x, &inverse)?, inverse))
    }

    /// The normed rows again, from what [`Norm::forward`] kept.
    pub fn again(&self, x: &Tensor, inverse: &Tensor) -> Result<Tensor> {
        x.broadcast_mul(inverse)?.broadcast_mul(&self.gain.tensor)
    }

    /// Adds the gradient of the gain to `sums` if it is trained and gives that of the rows.
    pub fn backward(&self, x: &Tensor, inverse: &Tensor, dout: &Tensor, sums: &mut Sums) -> Result<Tensor> {
        sums.add(&self.gain, || (dout * x.broadcast_mul(inverse)?)?.sum(0))?;
        #[expect(clippy::cast_precision_loss, reason = "a width is a small number")]
        let width = x.dim(D::Minus1)? as f64;
        let scaled = dout.broadcast_mul(&self.gain.tensor)?;
        let pull = ((&scaled * x)?.sum_keepdim(D::Minus1)? * (inverse.sqr()? * inverse)?)?;
        scaled.broadcast_mul(inverse)? - x.broadcast_mul(&(pull / width)?)?
    }
}

/// `f(gate) · up`. Shazeer 2020, arXiv 2002.05202.
pub(super) fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()? * up,
        Activation::GeluTanh => (gate * share(gate)?)? * up,
    }
}

/// Gradients of gate and up.
pub(super) fn gated_back(activation: Activation, gate: &Tensor, up: &Tensor, dout: &Tensor) -> Result<(Tensor, Tensor)> {
    let (share, inner) = match activation {
        Activation::Silu => (candle_nn::ops::sigmoid(gate)?, None),
        Activation::GeluTanh => (share(gate)?, Some((gate.sqr()? * (3.0 * CUBE))?.affine(SLOPE, SLOPE)?)),
    };
    let value = (gate * &share)?;
    let mut steep = (&value * share.affine(-1.0, 1.0)?)?;
    if let Some(inner) = inner {
        steep = (steep * inner)?;
    }
    let slope = (&share + steep)?;
    Ok((((dout * up)? * slope)?, (dout * value)?))
}

/// The share of x that gelu's tanh formula lets through: σ(x · (CUBE · x² + 1) · SLOPE).
fn share(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(&(x * (x.sqr()? * CUBE)?.affine(SLOPE, SLOPE)?)?)
}
