//! One decoder layer, forward and backward, over a pack of rows. Knows parameters and buffers, no names and no loss.
//!
//! Between two looks of the attention rows know nothing of each other: they are taken in chunks, side by side where the pack has
//! all threads for itself.
use rayon::prelude::*;

use super::attention::{Attended, Heads, Parts, attend, attend_back};
use super::branch::Style;
use super::cut::Cut;
use super::float::Float;
use super::kernels::{Rotations, gate, gate_back, norm_heads, norm_heads_back, rms_norm, rms_norm_again, rms_norm_back};
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
    /// What is done beside the products.
    pub style: Style<F>,
    /// Query, key, value.
    pub qkv: Form<F>,
    /// Output of attention.
    pub out: Form<F>,
    /// Gate, up.
    pub gate_up: Form<F>,
    /// Down.
    pub down: Form<F>,
    /// Rotary tables up to the longest sequence.
    pub rotations: Vec<Rotations<F>>,
}

/// What a layer is computed over.
#[derive(Clone, Copy)]
pub(super) struct Over<'a> {
    /// The rows.
    pub pack: &'a Pack,
    /// How they are cut.
    pub cut: Cut,
    /// The rows, in order, whose output is asked for, where those are not all: of the last layer the ones with a loss. Of the others
    /// it gives keys and values.
    pub asked: Option<&'a [usize]>,
}

impl Over<'_> {
    fn rows(self) -> usize {
        self.pack.tokens.len()
    }

    fn rows_asked(self) -> usize {
        self.asked.map_or(self.rows(), <[usize]>::len)
    }
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
    /// Queries and keys before the norms of heads.
    heads: Vec<F>,
    inverse_heads: Vec<F>,
    qkv: Vec<F>,
    norms: Vec<F>,
    mixed: Vec<F>,
    mid: Vec<F>,
    inverse_mid: Vec<F>,
    /// Empty where it is computed again: the largest part of all, for one product.
    gate_up: Vec<F>,
    /// Results of attention and of the feed-forward part before the norms behind them.
    branches: [Vec<F>; 2],
    inverse_branches: [Vec<F>; 2],
    low: [Vec<F>; 4],
}

/// Buffers of the passes that nobody keeps.
#[derive(Debug, Default)]
pub(super) struct Scratch<F> {
    normed: Vec<F>,
    inner: Vec<F>,
    /// Where a layer does not keep it.
    gate_up: Vec<F>,
    dinner: Vec<F>,
    dgate_up: Vec<F>,
    dmixed: Vec<F>,
    dqkv: Vec<F>,
    dnormed: Vec<F>,
    /// Results of attention for the rows that are asked for, where those are not all.
    asked: Vec<F>,
    parts: Parts<F>,
}

impl<F: Float> Scratch<F> {
    /// Gives back what only slim layers need.
    pub fn none_slim(&mut self) {
        self.gate_up = Vec::new();
    }

    /// Makes room for the way back of so many rows to the results of attention.
    fn fit_asked(&mut self, shared: &Shared<F>, rows: usize) {
        fit(&mut self.normed, rows * shared.hidden);
        fit(&mut self.inner, rows * shared.inner);
        fit(&mut self.dinner, rows * shared.inner);
        fit(&mut self.dgate_up, rows * 2 * shared.inner);
        fit(&mut self.dnormed, rows * shared.hidden);
        fit(&mut self.dmixed, rows * shared.heads.mixed());
    }

    /// Makes room for the way back of so many rows from there.
    fn fit_all(&mut self, shared: &Shared<F>, rows: usize) {
        fit(&mut self.normed, rows * shared.hidden);
        fit(&mut self.dnormed, rows * shared.hidden);
        fit(&mut self.dqkv, rows * shared.heads.row());
    }
}

impl<F: Float> Work<F> {
    /// Makes room for what a layer leaves of so many rows; a `slim` one leaves no gate and up.
    fn fit(&mut self, shared: &Shared<F>, layer: &Layer<F>, over: Over<'_>, slim: bool) {
        let (heads, rows, asked) = (shared.heads, over.rows(), over.rows_asked());
        let turned = if layer.norm_query.is_empty() { 0 } else { rows * (heads.queries + heads.keys) };
        let normed_branches = if layer.norm_out.is_empty() { 0 } else { asked };
        fit(&mut self.heads, turned * heads.width);
        fit(&mut self.inverse_heads, turned);
        for (branch, inverse) in self.branches.iter_mut().zip(&mut self.inverse_branches) {
            fit(branch, normed_branches * shared.hidden);
            fit(inverse, normed_branches);
        }
        fit(&mut self.inverse_in, rows);
        fit(&mut self.qkv, rows * heads.row());
        fit(&mut self.norms, rows * heads.queries);
        fit(&mut self.mixed, rows * heads.mixed());
        fit(&mut self.inverse_mid, asked);
        if slim {
            self.gate_up = Vec::new();
        }
        let lows = [(shared.qkv, rows), (shared.out, asked), (shared.gate_up, asked), (shared.down, asked)];
        for (low, (form, rows)) in self.low.iter_mut().zip(lows) {
            fit(low, rows * form.lows());
        }
    }
}

fn fit<F: Float>(buffer: &mut Vec<F>, len: usize) {
    buffer.resize(len, F::ZERO);
}

/// The rows, of so many values each, that are asked for.
fn pick<F: Float>(rows: &[F], width: usize, asked: &[usize], out: &mut Vec<F>) {
    out.clear();
    asked.iter().for_each(|row| out.extend_from_slice(&rows[row * width..][..width]));
}

/// What [`pick`] took goes back to its place among so many rows, with zeros for the others.
fn put_back<F: Float>(picked: &mut Vec<F>, width: usize, asked: &[usize], rows: usize) {
    fit(picked, rows * width);
    let mut end = rows;
    // from the last one on, for none lies behind its place
    for (i, row) in asked.iter().enumerate().rev() {
        picked.copy_within(i * width..(i + 1) * width, row * width);
        picked[(row + 1) * width..end * width].fill(F::ZERO);
        end = *row;
    }
    picked[..end * width].fill(F::ZERO);
}

impl<F: Float> Shared<F> {
    /// Values of [`Work`] for each row.
    pub fn row_values(&self) -> usize {
        let lows: usize = [self.qkv, self.out, self.gate_up, self.down].into_iter().map(Form::lows).sum();
        let heads = self.heads;
        heads.row() + heads.mixed() + heads.queries + self.hidden + 2 * self.inner + 2 + self.style.norms + lows
    }

    /// Values of [`Work`] that a layer keeps only for the rows that are asked for, at least.
    pub fn asked_values(&self) -> usize {
        let lows: usize = [self.out, self.gate_up, self.down].into_iter().map(Form::lows).sum();
        self.hidden + 2 * self.inner + 1 + lows
    }

    /// Values of [`Work`] for each row that a slim layer computes again.
    pub const fn slim_values(&self) -> usize {
        2 * self.inner
    }

    /// From `kept.x` to `y`, leaving in `kept.work` what the way back needs, of a `slim` layer all but gate and up.
    pub fn forward(&self, layer: &Layer<F>, over: Over<'_>, (kept, slim): (&mut Kept<F>, bool), scratch: &mut Scratch<F>, y: &mut Vec<F>) {
        kept.work.fit(self, layer, over, slim);
        self.attend(layer, over, kept, &mut scratch.normed);
        self.feed(layer, over, (kept, slim), scratch, y);
    }

    /// From the layer's input to the results of attention.
    fn attend(&self, layer: &Layer<F>, Over { pack, cut, asked }: Over<'_>, Kept { x, work: kept }: &mut Kept<F>, normed: &mut Vec<F>) {
        let heads = Heads { window: layer.look.window, ..self.heads };
        let (width, counts) = (heads.row(), [heads.queries, heads.keys]);
        let rotations = layer.look.rope.map(|rope| &self.rotations[rope]);
        fit(normed, x.len());
        let work = (
            cut.of(x),
            cut.of(&pack.positions),
            cut.of_mut(normed),
            cut.of_mut(&mut kept.inverse_in),
            cut.of_mut(&mut kept.qkv),
            cut.of_mut(&mut kept.low[0]),
            cut.of_mut(&mut kept.heads),
            cut.of_mut(&mut kept.inverse_heads),
        );
        work.into_par_iter().for_each(|(x, positions, normed, inverse, qkv, low, raw, inverse_heads)| {
            rms_norm(x, &layer.norm_in, self.eps, normed, inverse);
            self.qkv.forward(&layer.qkv, normed, qkv, Old::Drop, low);
            if !raw.is_empty() {
                norm_heads(qkv, width, counts, [&layer.norm_query, &layer.norm_key], self.eps, raw, inverse_heads);
            }
            if let Some(rotations) = rotations {
                rotations.turn(qkv, width, heads.queries + heads.keys, positions, false);
            }
        });
        attend(heads, (&pack.segments, asked), &kept.qkv, (&mut kept.mixed, &mut kept.norms), cut.wide());
    }

    /// From the results of attention to `y`, for the rows that are asked for.
    fn feed(
        &self,
        layer: &Layer<F>,
        over: Over<'_>,
        (Kept { x, work: kept }, slim): (&mut Kept<F>, bool),
        scratch: &mut Scratch<F>,
        y: &mut Vec<F>,
    ) {
        let rows = over.rows_asked();
        let cut = over.cut.over(rows);
        let gate_up = if slim { &mut scratch.gate_up } else { &mut kept.gate_up };
        fit(gate_up, rows * 2 * self.inner);
        fit(&mut scratch.normed, rows * self.hidden);
        fit(&mut scratch.inner, rows * self.inner);
        fit(y, rows * self.hidden);
        let mixed = match over.asked {
            None => {
                kept.mid.clone_from(x);
                &kept.mixed
            }
            Some(asked) => {
                pick(x, self.hidden, asked, &mut kept.mid);
                pick(&kept.mixed, self.heads.mixed(), asked, &mut scratch.asked);
                &scratch.asked
            }
        };
        let [_, low_out, low_gate_up, low_down] = &mut kept.low;
        let ([branch_out, branch_down], [inverse_out, inverse_down]) = (&mut kept.branches, &mut kept.inverse_branches);
        let work = (
            (cut.of(mixed), cut.of_mut(&mut kept.mid), cut.of_mut(&mut scratch.normed), cut.of_mut(&mut kept.inverse_mid)),
            (cut.of_mut(gate_up), cut.of_mut(&mut scratch.inner), cut.of_mut(y)),
            (cut.of_mut(low_out), cut.of_mut(low_gate_up), cut.of_mut(low_down)),
            (cut.of_mut(branch_out), cut.of_mut(inverse_out), cut.of_mut(branch_down), cut.of_mut(inverse_down)),
        );
        let work = (work.0.into_par_iter(), work.1.into_par_iter(), work.2.into_par_iter(), work.3.into_par_iter());
        work.into_par_iter().for_each(
            |((mixed, mid, normed, inverse), (gate_up, inner, y), (low_out, low_gate_up, low_down), branches)| {
                let (branch_out, inverse_out, branch_down, inverse_down) = branches;
                let branch = (branch_out, inverse_out, &mut *normed);
                self.join(self.out, &layer.out, &layer.norm_out, (mixed, low_out), mid, branch);
                rms_norm(mid, &layer.norm_mid, self.eps, normed, inverse);
                self.gate_up.forward(&layer.gate_up, normed, gate_up, Old::Drop, low_gate_up);
                gate(self.style.activation, gate_up, self.inner, inner);
                y.copy_from_slice(mid);
                self.join(self.down, &layer.down, &layer.norm_down, (inner, low_down), y, (branch_down, inverse_down, normed));
            },
        );
    }

    /// `dx` comes as the gradient of the layer's output, for the rows that are asked for, and leaves as that of its input, for all,
    /// unless nobody `wants` that.
    pub fn backward(
        &self,
        (layer, gradient): (&Layer<F>, &mut Layer<F>),
        over: Over<'_>,
        kept: &Kept<F>,
        scratch: &mut Scratch<F>,
        dx: &mut Vec<F>,
        wants: bool,
    ) {
        self.feed_back((layer, &mut *gradient), over, &kept.work, scratch, dx);
        if let Some(asked) = over.asked {
            put_back(&mut scratch.dmixed, self.heads.mixed(), asked, over.rows());
            put_back(dx, self.hidden, asked, over.rows());
        }
        self.attend_back((layer, gradient), over, kept, scratch, (dx, wants));
    }

    /// From the gradient of the layer's output to that of its share without attention, and to `scratch.dmixed`.
    fn feed_back(
        &self,
        (layer, gradient): (&Layer<F>, &mut Layer<F>),
        over: Over<'_>,
        kept: &Work<F>,
        scratch: &mut Scratch<F>,
        dx: &mut [F],
    ) {
        let rows = over.rows_asked();
        let (cut, slim) = (over.cut.over(rows), kept.gate_up.is_empty());
        scratch.fit_asked(self, rows);
        let Scratch { normed, inner, gate_up, dinner, dgate_up, dmixed, dnormed, asked, .. } = scratch;
        fit(gate_up, if slim { rows * 2 * self.inner } else { 0 });
        let mixed = match over.asked {
            None => &kept.mixed,
            Some(rows) => {
                pick(&kept.mixed, self.heads.mixed(), rows, asked);
                &*asked
            }
        };
        let [_, low_out, low_gate_up, low_down] = &kept.low;
        let ([branch_out, branch_down], [inverse_out, inverse_down]) = (&kept.branches, &kept.inverse_branches);
        let work = (
            (cut.of(&kept.gate_up), cut.of(&kept.mid), cut.of(&kept.inverse_mid), cut.of(mixed)).into_par_iter(),
            (cut.of(low_out), cut.of(low_gate_up), cut.of(low_down)).into_par_iter(),
            (cut.of_mut(normed), cut.of_mut(inner), cut.of_mut(dinner), cut.of_mut(dgate_up), cut.of_mut(dnormed)).into_par_iter(),
            (cut.of_mut(dx), cut.of_mut(dmixed), cut.of_mut(gate_up)).into_par_iter(),
            (cut.of(branch_out), cut.of(inverse_out), cut.of(branch_down), cut.of(inverse_down)).into_par_iter(),
        );
        let work: Vec<_> = work.into_par_iter().collect();
        cut.back(work, gradient, |(kept, (low_out, low_gate_up, low_down), scratch, (dx, dmixed, again), branches), gradient| {
            let ((gate_up, mid, inverse, mixed), (normed, inner, dinner, dgate_up, dnormed)) = (kept, scratch);
            let (branch_out, inverse_out, branch_down, inverse_down) = branches;
            rms_norm_again(mid, &layer.norm_mid, inverse, normed);
            if slim {
                // the adapter's share comes out as it was kept
                self.gate_up.forward(&layer.gate_up, normed, again, Old::Drop, &mut low_gate_up.to_vec());
            }
            let gate_up = if slim { again } else { gate_up };
            gate(self.style.activation, gate_up, self.inner, inner);
            let linear = (&layer.down, &mut gradient.down);
            let norm = (layer.norm_down.as_slice(), own(&mut gradient.norm_down).as_mut_slice());
            let branch = (branch_down, inverse_down, &mut *dnormed);
            Self::join_back(self.down, linear, norm, (inner, low_down), branch, (dx, &mut *dinner));
            gate_back(self.style.activation, gate_up, self.inner, dinner, dgate_up);
            self.gate_up.backward(&layer.gate_up, &mut gradient.gate_up, (normed, low_gate_up), dgate_up, Some(&mut *dnormed));
            rms_norm_back(mid, &layer.norm_mid, inverse, dnormed, dx, own(&mut gradient.norm_mid));
            let linear = (&layer.out, &mut gradient.out);
            let norm = (layer.norm_out.as_slice(), own(&mut gradient.norm_out).as_mut_slice());
            Self::join_back(self.out, linear, norm, (mixed, low_out), (branch_out, inverse_out, dnormed), (dx, dmixed));
        });
    }

    /// From `scratch.dmixed` to the gradient of the layer's input, added to `dx` if anybody wants it.
    fn attend_back(
        &self,
        (layer, gradient): (&Layer<F>, &mut Layer<F>),
        over: Over<'_>,
        Kept { x, work: kept }: &Kept<F>,
        scratch: &mut Scratch<F>,
        (dx, wants): (&mut [F], bool),
    ) {
        let Over { pack, cut, asked } = over;
        let heads = Heads { window: layer.look.window, ..self.heads };
        let (width, counts) = (heads.row(), [heads.queries, heads.keys]);
        let rotations = layer.look.rope.map(|rope| &self.rotations[rope]);
        scratch.fit_all(self, over.rows());
        let Scratch { normed, dmixed, dqkv, dnormed, parts, .. } = scratch;
        let attended = Attended { qkv: &kept.qkv, mixed: &kept.mixed, norms: &kept.norms };
        attend_back(heads, (&pack.segments, asked), attended, dmixed, (dqkv, parts), cut.wide());
        let work = (
            (cut.of(x), cut.of(&kept.inverse_in), cut.of(&kept.low[0]), cut.of(&pack.positions)).into_par_iter(),
            (cut.of(&kept.heads), cut.of(&kept.inverse_heads)).into_par_iter(),
            (cut.of_mut(normed), cut.of_mut(dqkv), cut.of_mut(dnormed), cut.of_mut(dx)).into_par_iter(),
        );
        let work: Vec<_> = work.into_par_iter().collect();
        cut.back(work, gradient, |((x, inverse, low, positions), (raw, inverse_heads), (normed, dqkv, dnormed, dx)), gradient| {
            if let Some(rotations) = rotations {
                rotations.turn(dqkv, width, heads.queries + heads.keys, positions, true);
            }
            if !raw.is_empty() {
                let dgains = [own(&mut gradient.norm_query).as_mut_slice(), own(&mut gradient.norm_key).as_mut_slice()];
                norm_heads_back(dqkv, width, counts, [&layer.norm_query, &layer.norm_key], raw, inverse_heads, dgains);
            }
            rms_norm_again(x, &layer.norm_in, inverse, normed);
            self.qkv.backward(&layer.qkv, &mut gradient.qkv, (normed, low), dqkv, wants.then_some(&mut *dnormed));
            if wants {
                rms_norm_back(x, &layer.norm_in, inverse, dnormed, dx, own(&mut gradient.norm_in));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{pick, put_back};

    #[test]
    fn rows_are_picked_and_put_back() {
        let rows: Vec<f32> = (1..=14_u8).map(f32::from).collect();
        for asked in [&[0][..], &[6], &[1, 2, 5], &[0, 3, 6], &[0, 1, 2, 3, 4, 5, 6]] {
            let mut picked = vec![9.0; 3];
            pick(&rows, 2, asked, &mut picked);
            let right: Vec<f32> = asked.iter().flat_map(|row| rows[row * 2..][..2].to_vec()).collect();
            assert_eq!(picked, right);
            put_back(&mut picked, 2, asked, 7);
            let row = |at: usize| if asked.contains(&at) { rows[at * 2..][..2].to_vec() } else { vec![0.0; 2] };
            assert_eq!(picked, (0..7).flat_map(row).collect::<Vec<_>>());
        }
    }
}
