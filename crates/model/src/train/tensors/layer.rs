//! One decoder layer as tensor operations, forward and backward, over the rows of a pack. Knows no loss.
use candle_core::{Result, Tensor};

use super::Sums;
use super::attention::Attention;
use super::linear::{Linear, Norm, Values, gated, gated_back};
use crate::names::{Fused, Norm as Place, Widths, norms};
use crate::{Config, Look};

/// The parameters of a layer.
pub(super) struct Layer {
    config: Config,
    look: Look,
    norm_in: Norm,
    /// Query, key, value, or all in one.
    qkv: Vec<Linear>,
    /// Of the heads of queries and of keys.
    head_norms: Option<[Norm; 2]>,
    out: Linear,
    /// Behind attention and behind the feed-forward part.
    branch_norms: Option<[Norm; 2]>,
    norm_mid: Norm,
    /// Gate and up, or both in one.
    gate_up: Vec<Linear>,
    down: Linear,
}

/// What the way back needs besides the layer's input (T × hidden).
pub(super) struct Kept {
    inverse_in: Tensor,
    /// Turned queries and keys, values: (T × heads·width) each.
    qkv: [Tensor; 3],
    qkv_low: Vec<Option<Tensor>>,
    /// Queries and keys before their norms, with 1 / rms of each head.
    heads: Option<[(Tensor, Tensor); 2]>,
    mixed: Tensor,
    out_low: Option<Tensor>,
    /// What the two branches made before the norms behind them, with 1 / rms of each row.
    branches: [Option<(Tensor, Tensor)>; 2],
    mid: Tensor,
    inverse_mid: Tensor,
    gate_up: [Tensor; 2],
    gate_up_low: Vec<Option<Tensor>>,
    down_low: Option<Tensor>,
}

impl Layer {
    /// Layer `index` of a decoder.
    pub fn new(config: &Config, values: Values<'_>, index: usize) -> Result<Self> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let widths = Widths::of(config);
        let linears = |fused| widths.parts(fused).iter().map(|part| Linear::new(values, &name(part))).collect::<Vec<_>>();
        let linear = |fused| linears(fused).pop().expect("every linear has a part");
        let norms = norms(config);
        let norm = |place: Place| {
            let part = norms.iter().find(|(found, ..)| *found == place).map(|(_, part, _)| *part).expect("the configuration has it");
            Norm::new(values, &format!("{}.weight", name(part)), config)
        };
        let both = |has: bool, places: [Place; 2]| if has { Ok(Some([norm(places[0])?, norm(places[1])?])) } else { Result::Ok(None) };
        Ok(Self {
            config: config.clone(),
            look: config.layers[index],
            norm_in: norm(Place::In)?,
            qkv: linears(Fused::Qkv),
            head_norms: both(config.head_norms, [Place::Query, Place::Key])?,
            out: linear(Fused::Out),
            branch_norms: both(config.branch_norms, [Place::Out, Place::Down])?,
            norm_mid: norm(Place::Mid)?,
            gate_up: linears(Fused::GateUp),
            down: linear(Fused::Down),
        })
    }

    /// Values of [`Kept`] for each row, adapters aside.
    pub fn kept_values(config: &Config) -> usize {
        let turned = config.num_attention_heads + config.num_key_value_heads;
        let head_norms = if config.head_norms { turned * (config.head_dim + 1) } else { 0 };
        let branch_norms = if config.branch_norms { 2 * (config.hidden_size + 1) } else { 0 };
        let heads = 2 * turned * config.head_dim;
        heads + config.hidden_size + 2 * config.intermediate_size + 2 + head_norms + branch_norms
    }

    /// The layer's output (T × hidden), where only some rows are `asked` for theirs alone, and what the way back needs.
    pub fn forward(&self, x: &Tensor, attention: &Attention, asked: Option<&Tensor>) -> Result<(Tensor, Kept)> {
        let widths = Widths::of(&self.config);
        let (normed, inverse_in) = self.norm_in.forward(x)?;
        let ([mut q, mut k, v], qkv_low) = split(&self.qkv, &normed, [widths.queries, widths.keys, widths.keys])?;
        let mut heads = None;
        if let Some([query, key]) = &self.head_norms {
            let ((queries, inverse_q), (keys, inverse_k)) = (query.heads_forward(&q)?, key.heads_forward(&k)?);
            heads = Some([(q, inverse_q), (k, inverse_k)]);
            (q, k) = (queries, keys);
        }
        let (q, k) = (attention.turn(&q, self.look, false)?, attention.turn(&k, self.look, false)?);
        let mixed = attention.forward(&q, &k, &v, self.look)?;
        let (out, out_low) = self.out.forward(&pick(&mixed, asked)?)?;
        let (mid, attended) = self.join(&pick(x, asked)?, out, 0)?;
        let (normed, inverse_mid) = self.norm_mid.forward(&mid)?;
        let ([gate, up], gate_up_low) = split(&self.gate_up, &normed, [widths.inner; 2])?;
        let (down, down_low) = self.down.forward(&gated(self.config.activation, &gate, &up)?)?;
        let (y, fed) = self.join(&mid, down, 1)?;
        let (qkv, gate_up, branches) = ([q, k, v], [gate, up], [attended, fed]);
        Ok((y, Kept { inverse_in, qkv, qkv_low, heads, mixed, out_low, branches, mid, inverse_mid, gate_up, gate_up_low, down_low }))
    }

    /// The residual stream `x` with what a branch made added to it, normed first where the layer norms it.
    fn join(&self, x: &Tensor, made: Tensor, branch: usize) -> Result<(Tensor, Option<(Tensor, Tensor)>)> {
        let made = times(made, self.config.residual_multiplier)?;
        let Some(norms) = &self.branch_norms else { return Ok(((x + made)?, None)) };
        let (normed, inverse) = norms[branch].forward(&made)?;
        Ok(((x + normed)?, Some((made, inverse))))
    }

    /// From the gradient of the residual stream behind a branch to that of what the branch made.
    fn join_back(&self, dy: &Tensor, kept: &Kept, branch: usize, sums: &mut Sums) -> Result<Tensor> {
        let dmade = match (&self.branch_norms, &kept.branches[branch]) {
            (Some(norms), Some((made, inverse))) => norms[branch].backward(made, inverse, dy, sums)?,
            _ => dy.clone(),
        };
        times(dmade, self.config.residual_multiplier)
    }

    /// From the gradient of the output, where only some rows were `asked` for of theirs, to that of the input, unless nobody `wants`
    /// that.
    pub fn backward(
        &self,
        (x, kept): (&Tensor, &Kept),
        (attention, asked): (&Attention, Option<&Tensor>),
        dy: &Tensor,
        wants: bool,
        sums: &mut Sums,
    ) -> Result<Option<Tensor>> {
        let wanted = "the gradient is wanted";
        let (activation, [gate, up]) = (self.config.activation, &kept.gate_up);
        let ddown = self.join_back(dy, kept, 1, sums)?;
        let dinner = self.down.backward(&gated(activation, gate, up)?, kept.down_low.as_ref(), &ddown, true, sums)?.expect(wanted);
        let (dgate, dup) = gated_back(activation, gate, up, &dinner)?;
        let normed = self.norm_mid.again(&kept.mid, &kept.inverse_mid)?;
        let dnormed = split_back(&self.gate_up, &kept.gate_up_low, &normed, &[dgate, dup], true, sums)?.expect(wanted);
        let dmid = (dy + self.norm_mid.backward(&kept.mid, &kept.inverse_mid, &dnormed, sums)?)?;

        let dout = self.join_back(&dmid, kept, 0, sums)?;
        let dmixed = self.out.backward(&pick(&kept.mixed, asked)?, kept.out_low.as_ref(), &dout, true, sums)?.expect(wanted);
        let (dmixed, dmid) = (put_back(dmixed, asked, x.dim(0)?)?, put_back(dmid, asked, x.dim(0)?)?);
        let [q, k, v] = &kept.qkv;
        let [dq, dk, dv] = attention.backward([q, k, v], &kept.mixed, &dmixed, self.look)?;
        let (mut dq, mut dk) = (attention.turn(&dq, self.look, true)?, attention.turn(&dk, self.look, true)?);
        if let (Some([query, key]), Some([(q, inverse_q), (k, inverse_k)])) = (&self.head_norms, &kept.heads) {
            (dq, dk) = (query.heads_backward(q, inverse_q, &dq, sums)?, key.heads_backward(k, inverse_k, &dk, sums)?);
        }
        let normed = self.norm_in.again(x, &kept.inverse_in)?;
        let dnormed = split_back(&self.qkv, &kept.qkv_low, &normed, &[dq, dk, dv], wants, sums)?;
        dnormed.map(|dnormed| dmid + self.norm_in.backward(x, &kept.inverse_in, &dnormed, sums)?).transpose()
    }
}

/// The rows that are asked for.
fn pick(x: &Tensor, asked: Option<&Tensor>) -> Result<Tensor> {
    asked.map_or_else(|| Ok(x.clone()), |rows| x.index_select(rows, 0))
}

/// What [`pick`] took at its place among so many rows, with zeros for the others.
fn put_back(picked: Tensor, asked: Option<&Tensor>, rows: usize) -> Result<Tensor> {
    let Some(places) = asked else { return Ok(picked) };
    Tensor::zeros((rows, picked.dim(1)?), picked.dtype(), picked.device())?.index_add(places, &picked, 0)
}

/// `x` times a factor, unless that changes nothing.
pub(super) fn times(x: Tensor, factor: f64) -> Result<Tensor> {
    if factor.to_bits() == 1.0_f64.to_bits() { Ok(x) } else { x * factor }
}

/// The outputs of linears of one input: as many, or all in one that is cut into `widths`. And what their way back needs.
fn split<const N: usize>(linears: &[Linear], x: &Tensor, widths: [usize; N]) -> Result<([Tensor; N], Vec<Option<Tensor>>)> {
    let (mut outputs, lows): (Vec<_>, Vec<_>) =
        linears.iter().map(|linear| linear.forward(x)).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    if let [whole] = outputs.as_slice() {
        let starts = widths.iter().scan(0, |start, width| {
            *start += width;
            Some(*start - width)
        });
        let parts = starts.zip(widths).map(|(start, width)| whole.narrow(1, start, width)?.contiguous());
        outputs = parts.collect::<Result<_>>()?;
    }
    Ok((outputs.try_into().expect("one linear for each part, or one for all"), lows))
}

/// Way back through [`split`] from the gradients of the parts to that of the input, unless nobody `wants` it.
fn split_back(
    linears: &[Linear],
    lows: &[Option<Tensor>],
    x: &Tensor,
    pulls: &[Tensor],
    wants: bool,
    sums: &mut Sums,
) -> Result<Option<Tensor>> {
    if let ([linear], [low]) = (linears, lows) {
        return linear.backward(x, low.as_ref(), &Tensor::cat(pulls, 1)?, wants, sums);
    }
    let mut dx: Option<Tensor> = None;
    for ((linear, low), pull) in linears.iter().zip(lows).zip(pulls) {
        let part = linear.backward(x, low.as_ref(), pull, wants, sums)?;
        dx = match (dx, part) {
            (Some(sum), Some(part)) => Some((sum + part)?),
            (sum, part) => sum.or(part),
        };
    }
    Ok(dx)
}
