//! One decoder layer, forward and backward, over a pack of rows. Knows parameters and buffers, no names and no loss.
use super::attention::{Attended, Heads, attend, attend_back};
use super::float::Float;
use super::kernels::{Rotations, rms_norm, rms_norm_again, rms_norm_back, swiglu, swiglu_back};
use super::layout::Pack;
use super::linear::Form;
use super::matmul::Old;
use super::parameters::{Layer, own};

/// What all layers share.
pub(super) struct Shared<F> {
    /// Heads of attention.
    pub heads: Heads,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub inner: usize,
    /// Constant of the norms.
    pub eps: F,
    /// Query, key, value.
    pub qkv: Form<F>,
    /// Output of attention.
    pub out: Form<F>,
    /// Gate, up.
    pub gate_up: Form<F>,
    /// Down.
    pub down: Form<F>,
    /// Rotary table up to the longest sequence.
    pub rotations: Rotations<F>,
}

/// What a layer keeps for its way back. Grows to the largest pack and is used again.
#[derive(Debug, Default)]
pub(super) struct Kept<F> {
    /// The layer's input (T × hidden); the rest can be computed again from it.
    pub x: Vec<F>,
    /// All else.
    pub work: Work<F>,
}

/// What the way back needs besides the layer's input.
#[derive(Debug, Default)]
pub(super) struct Work<F> {
    inverse_in: Vec<F>,
    qkv: Vec<F>,
    norms: Vec<F>,
    mixed: Vec<F>,
    mid: Vec<F>,
    inverse_mid: Vec<F>,
    gate_up: Vec<F>,
    low: [Vec<F>; 4],
}

/// Buffers of the passes that nobody keeps.
#[derive(Debug, Default)]
pub(super) struct Scratch<F> {
    normed: Vec<F>,
    inner: Vec<F>,
    dinner: Vec<F>,
    dgate_up: Vec<F>,
    dmixed: Vec<F>,
    dqkv: Vec<F>,
    dnormed: Vec<F>,
}

fn fit<F: Float>(buffer: &mut Vec<F>, len: usize) {
    buffer.resize(len, F::ZERO);
}

impl<F: Float> Shared<F> {
    /// Bytes of [`Work`] for each row, adapters aside.
    pub fn row_bytes(&self) -> usize {
        let values = self.heads.row() + self.heads.mixed() + self.heads.queries + self.hidden + 2 * self.inner + 2;
        values * size_of::<F>()
    }

    /// From `kept.x` to `y`, leaving in `kept.work` what the way back needs.
    pub fn forward(&self, layer: &Layer<F>, pack: &Pack, kept: &mut Kept<F>, scratch: &mut Scratch<F>, y: &mut Vec<F>) {
        let Kept { x, work: kept } = kept;
        let rows = pack.tokens.len();
        let (heads, width) = (self.heads, self.heads.row());
        fit(&mut scratch.normed, rows * self.hidden);
        fit(&mut kept.inverse_in, rows);
        fit(&mut kept.qkv, rows * width);
        fit(&mut kept.norms, rows * heads.queries);
        fit(&mut kept.mixed, rows * heads.mixed());
        rms_norm(x, &layer.norm_in, self.eps, &mut scratch.normed, &mut kept.inverse_in);
        self.qkv.forward(&layer.qkv, &scratch.normed, &mut kept.qkv, Old::Drop, &mut kept.low[0]);
        self.rotations.turn(&mut kept.qkv, width, heads.queries + heads.keys, &pack.positions, false);
        attend(heads, &pack.segments, &kept.qkv, &mut kept.mixed, &mut kept.norms);
        kept.mid.clear();
        kept.mid.extend_from_slice(x);
        self.out.forward(&layer.out, &kept.mixed, &mut kept.mid, Old::Add, &mut kept.low[1]);
        fit(&mut kept.inverse_mid, rows);
        fit(&mut kept.gate_up, rows * 2 * self.inner);
        fit(&mut scratch.inner, rows * self.inner);
        rms_norm(&kept.mid, &layer.norm_mid, self.eps, &mut scratch.normed, &mut kept.inverse_mid);
        self.gate_up.forward(&layer.gate_up, &scratch.normed, &mut kept.gate_up, Old::Drop, &mut kept.low[2]);
        swiglu(&kept.gate_up, self.inner, &mut scratch.inner);
        y.clear();
        y.extend_from_slice(&kept.mid);
        self.down.forward(&layer.down, &scratch.inner, y, Old::Add, &mut kept.low[3]);
    }

    /// `dx` comes as the gradient of the layer's output and leaves as that of its input, unless nobody `wants` that.
    pub fn backward(
        &self,
        (layer, gradient): (&Layer<F>, &mut Layer<F>),
        pack: &Pack,
        kept: &Kept<F>,
        scratch: &mut Scratch<F>,
        dx: &mut [F],
        wants: bool,
    ) {
        let Kept { x, work: kept } = kept;
        let rows = pack.tokens.len();
        let width = self.heads.row();
        fit(&mut scratch.normed, rows * self.hidden);
        fit(&mut scratch.inner, rows * self.inner);
        fit(&mut scratch.dinner, rows * self.inner);
        fit(&mut scratch.dgate_up, rows * 2 * self.inner);
        fit(&mut scratch.dnormed, rows * self.hidden);
        fit(&mut scratch.dmixed, rows * self.heads.mixed());
        fit(&mut scratch.dqkv, rows * width);
        let Scratch { normed, inner, dinner, dgate_up, dmixed, dqkv, dnormed } = scratch;

        swiglu(&kept.gate_up, self.inner, inner);
        self.down.backward(&layer.down, &mut gradient.down, (inner, &kept.low[3]), dx, Some(dinner));
        swiglu_back(&kept.gate_up, self.inner, dinner, dgate_up);
        rms_norm_again(&kept.mid, &layer.norm_mid, &kept.inverse_mid, normed);
        self.gate_up.backward(&layer.gate_up, &mut gradient.gate_up, (normed, &kept.low[2]), dgate_up, Some(dnormed));
        rms_norm_back(&kept.mid, &layer.norm_mid, &kept.inverse_mid, dnormed, dx, own(&mut gradient.norm_mid));

        self.out.backward(&layer.out, &mut gradient.out, (&kept.mixed, &kept.low[1]), dx, Some(dmixed));
        let attended = Attended { qkv: &kept.qkv, mixed: &kept.mixed, norms: &kept.norms };
        attend_back(self.heads, &pack.segments, attended, dmixed, dqkv);
        self.rotations.turn(dqkv, width, self.heads.queries + self.heads.keys, &pack.positions, true);
        rms_norm_again(x, &layer.norm_in, &kept.inverse_in, normed);
        let inputs = (normed.as_slice(), kept.low[0].as_slice());
        self.qkv.backward(&layer.qkv, &mut gradient.qkv, inputs, dqkv, wants.then_some(dnormed.as_mut_slice()));
        if wants {
            rms_norm_back(x, &layer.norm_in, &kept.inverse_in, dnormed, dx, own(&mut gradient.norm_in));
        }
    }
}
