//! One decoder layer as tensor operations, forward and backward, over the rows of a pack. Knows no loss.
use candle_core::{Result, Tensor};

use super::Sums;
use super::attention::Attention;
use super::linear::{Linear, Norm, Values, swiglu, swiglu_back};
use crate::Config;

/// The parameters of a layer.
pub(super) struct Layer {
    norm_in: Norm,
    /// Query, key, value.
    qkv: [Linear; 3],
    out: Linear,
    norm_mid: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// What the way back needs besides the layer's input (T × hidden).
pub(super) struct Kept {
    inverse_in: Tensor,
    /// Turned queries and keys, values: (T × heads·width) each.
    qkv: [Tensor; 3],
    qkv_low: [Option<Tensor>; 3],
    mixed: Tensor,
    out_low: Option<Tensor>,
    mid: Tensor,
    inverse_mid: Tensor,
    gate: Tensor,
    up: Tensor,
    gate_low: Option<Tensor>,
    up_low: Option<Tensor>,
    down_low: Option<Tensor>,
}

impl Layer {
    /// Layer `index` of a decoder.
    pub fn new(config: &Config, values: Values<'_>, index: usize) -> Self {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let linear = |part: &str| Linear::new(values, &name(part));
        let norm = |part: &str| Norm::new(values, &name(part), config.rms_norm_eps);
        Self {
            norm_in: norm("input_layernorm.weight"),
            qkv: ["q_proj", "k_proj", "v_proj"].map(|part| linear(&format!("self_attn.{part}"))),
            out: linear("self_attn.o_proj"),
            norm_mid: norm("post_attention_layernorm.weight"),
            gate: linear("mlp.gate_proj"),
            up: linear("mlp.up_proj"),
            down: linear("mlp.down_proj"),
        }
    }

    /// Values of [`Kept`] for each row, adapters aside.
    pub fn kept_values(config: &Config) -> usize {
        let heads = 2 * (config.num_attention_heads + config.num_key_value_heads) * config.head_dim;
        heads + config.hidden_size + 2 * config.intermediate_size + 2
    }

    /// The layer's output (T × hidden), and what the way back needs.
    pub fn forward(&self, x: &Tensor, attention: &Attention) -> Result<(Tensor, Kept)> {
        let (normed, inverse_in) = self.norm_in.forward(x)?;
        let [q, k, v] = &self.qkv;
        let ((q, q_low), (k, k_low), (v, v_low)) = (q.forward(&normed)?, k.forward(&normed)?, v.forward(&normed)?);
        let (q, k) = (attention.turn(&q, false)?, attention.turn(&k, false)?);
        let mixed = attention.forward(&q, &k, &v)?;
        let (out, out_low) = self.out.forward(&mixed)?;
        let mid = (x + out)?;
        let (normed, inverse_mid) = self.norm_mid.forward(&mid)?;
        let ((gate, gate_low), (up, up_low)) = (self.gate.forward(&normed)?, self.up.forward(&normed)?);
        let (down, down_low) = self.down.forward(&swiglu(&gate, &up)?)?;
        let y = (&mid + down)?;
        let (qkv, qkv_low) = ([q, k, v], [q_low, k_low, v_low]);
        Ok((y, Kept { inverse_in, qkv, qkv_low, mixed, out_low, mid, inverse_mid, gate, up, gate_low, up_low, down_low }))
    }

    /// From the gradient of the output to that of the input, unless nobody `wants` that.
    pub fn backward(
        &self,
        (x, kept): (&Tensor, &Kept),
        attention: &Attention,
        dy: &Tensor,
        wants: bool,
        sums: &mut Sums,
    ) -> Result<Option<Tensor>> {
        let asked = "the gradient was asked for";
        let inner = swiglu(&kept.gate, &kept.up)?;
        let dinner = self.down.backward(&inner, kept.down_low.as_ref(), dy, true, sums)?.expect(asked);
        let (dgate, dup) = swiglu_back(&kept.gate, &kept.up, &dinner)?;
        let normed = self.norm_mid.again(&kept.mid, &kept.inverse_mid)?;
        let by_gate = self.gate.backward(&normed, kept.gate_low.as_ref(), &dgate, true, sums)?.expect(asked);
        let by_up = self.up.backward(&normed, kept.up_low.as_ref(), &dup, true, sums)?.expect(asked);
        let dmid = (dy + self.norm_mid.backward(&kept.mid, &kept.inverse_mid, &(by_gate + by_up)?, sums)?)?;

        let dmixed = self.out.backward(&kept.mixed, kept.out_low.as_ref(), &dmid, true, sums)?.expect(asked);
        let [q, k, v] = &kept.qkv;
        let [dq, dk, dv] = attention.backward([q, k, v], &kept.mixed, &dmixed)?;
        let normed = self.norm_in.again(x, &kept.inverse_in)?;
        let mut dnormed: Option<Tensor> = None;
        let pulls = [attention.turn(&dq, true)?, attention.turn(&dk, true)?, dv];
        for ((linear, low), pull) in self.qkv.iter().zip(&kept.qkv_low).zip(&pulls) {
            let part = linear.backward(&normed, low.as_ref(), pull, wants, sums)?;
            dnormed = match (dnormed, part) {
                (Some(sum), Some(part)) => Some((sum + part)?),
                (sum, part) => sum.or(part),
            };
        }
        dnormed.map(|dnormed| dmid + self.norm_in.backward(x, &kept.inverse_in, &dnormed, sums)?).transpose()
    }
}
