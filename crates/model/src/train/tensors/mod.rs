//! The engine for devices other than the CPU: the same loss and gradients out of candle's tensor operations.
//!
//! The way back is written out here too, layer by layer, instead of being left to candle's graph: its fused operations have no
//! gradient, and its product computes those of frozen weights as well. All operations are candle's own, so what the tests run on
//! the CPU is what runs on a GPU. Knows decoders and batches, no optimiser.
mod attention;
mod head;
mod layer;
mod linear;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::layout::{self, Pack, plan};
use super::{Gradients, Loss, Sequence};
use crate::Config;
use attention::Attention;
use head::cross_entropy;
use layer::{Kept, Layer, times};
use linear::{Norm, Value, Values};

/// Gradients added up by name.
#[derive(Default)]
struct Sums(Gradients);

impl Sums {
    /// Adds what `gradient` computes to that of `value`; nothing is computed where it is frozen.
    fn add(&mut self, value: &Value, gradient: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        let Some(name) = &value.learns else { return Ok(()) };
        let new = gradient()?;
        match self.0.get_mut(name) {
            None => drop(self.0.insert(name.clone(), new)),
            Some(sum) => *sum = (&*sum + new)?,
        }
        Ok(())
    }
}

/// What bounds the memory of a pass.
#[derive(Clone, Copy)]
struct Limits {
    /// Rows of a pack, unless one sequence alone has more.
    rows: usize,
    /// Bytes that the layers of one pack may keep for the way back. A pack that needs more keeps the layers' inputs alone and
    /// computes the rest again, layer by layer: a third more work (Chen et al. 2016, arXiv 1604.06174).
    kept_bytes: usize,
    /// Attention scores that exist at once.
    scores: usize,
    /// Logits that exist at once.
    logits: usize,
}

impl Limits {
    /// Every sequence has rows of its own: attention here takes one after the other.
    fn plan(self) -> layout::Limits {
        layout::Limits { shards: 1, rows: self.rows, share: false }
    }
}

const LIMITS: Limits = Limits { rows: 2048, kept_bytes: 2 << 30, scores: 1 << 26, logits: 1 << 24 };

/// A decoder ready to be computed.
pub(super) struct Pass<'a> {
    config: &'a Config,
    variables: &'a BTreeMap<String, Var>,
    embed: Value,
    layers: Vec<Layer>,
    norm: Norm,
    /// None where the embedding serves.
    head: Option<Value>,
    dtype: DType,
    device: Device,
    limits: Limits,
}

impl<'a> Pass<'a> {
    /// From the weights as they were loaded, all there and of the right shapes, and the present values of what is trained;
    /// `scale` is α / rank.
    pub fn new(config: &'a Config, base: &'a BTreeMap<String, Tensor>, variables: &'a BTreeMap<String, Var>, scale: f64) -> Result<Self> {
        let values = Values { base, variables, scale };
        let embed = values.weight("model.embed_tokens.weight");
        let (dtype, device) = (embed.tensor.dtype(), embed.tensor.device().clone());
        let head = if config.tie_word_embeddings { None } else { values.find("lm_head.weight") };
        let norm = Norm::new(values, "model.norm.weight", config)?;
        let layers = (0..config.num_hidden_layers).map(|index| Layer::new(config, values, index)).collect::<Result<_>>()?;
        Ok(Self { config, variables, embed, layers, norm, head, dtype, device, limits: LIMITS })
    }

    /// Loss alone.
    pub fn loss(&self, batch: &[Sequence]) -> Result<Loss> {
        let packs = plan(batch, self.limits.plan());
        packs.iter().flatten().map(|pack| self.run(pack, None)).sum()
    }

    /// Loss and the gradient of everything that is trained, on the device.
    pub fn loss_and_gradients(&self, batch: &[Sequence]) -> Result<(Loss, Gradients)> {
        let mut sums = Sums::default();
        let packs = plan(batch, self.limits.plan());
        let loss = packs.iter().flatten().map(|pack| self.run(pack, Some(&mut sums))).sum::<Result<Loss>>()?;
        for (name, variable) in self.variables {
            if !sums.0.contains_key(name) {
                sums.0.insert(name.clone(), Tensor::zeros(variable.shape(), self.dtype, &self.device)?);
            }
        }
        // a device works on behind our back; what takes time here should be seen to take it here
        self.device.synchronize()?;
        Ok((loss, sums.0))
    }

    fn run(&self, pack: &Pack, sums: Option<&mut Sums>) -> Result<Loss> {
        let (rows, hidden) = (pack.tokens.len(), self.config.hidden_size);
        if pack.scored.is_empty() {
            return Ok(Loss::default());
        }
        let tokens = Tensor::from_slice(&pack.tokens, rows, &self.device)?;
        let attention = Attention::new(self.config, pack, self.dtype, &self.device, self.limits.scores)?;
        let mut x = times(self.embed.tensor.index_select(&tokens, 0)?, self.config.embedding_multiplier)?;
        let rows_asked = pack.asked();
        let asked = self.places(rows_asked.iter().copied())?;
        // of the last layer, unless that is all rows
        let asked = |i: usize| (i + 1 == self.layers.len() && rows_asked.len() < rows).then_some(&asked);
        let Some(sums) = sums else {
            for (i, layer) in self.layers.iter().enumerate() {
                x = layer.forward(&x, &attention, asked(i))?.0;
            }
            return Ok(self.head((pack, &rows_asked), &x, None)?.0);
        };
        let bytes = rows * self.layers.len() * Layer::kept_values(self.config) * self.dtype.size_in_bytes();
        let mut inputs: Vec<(Tensor, Option<Kept>)> = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let (y, kept) = layer.forward(&x, &attention, asked(i))?;
            inputs.push((x, (bytes <= self.limits.kept_bytes).then_some(kept)));
            x = y;
        }
        let (loss, dx) = self.head((pack, &rows_asked), &x, Some(&mut *sums))?;
        let mut dx = Some(dx.expect("the gradient was asked for"));
        // where the embedding is frozen, nobody asks for the gradient of the first layer's input
        let wanted = usize::from(self.embed.learns.is_none());
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (x, kept) = inputs.pop().expect("one input a layer");
            let kept = kept.map_or_else(|| Ok(layer.forward(&x, &attention, asked(i))?.1), Ok::<_, candle_core::Error>)?;
            let dy = dx.expect("only the first layer's is not wanted");
            dx = layer.backward((&x, &kept), (&attention, asked(i)), &dy, i >= wanted, sums)?;
        }
        if let Some(dx) = dx {
            let dx = times(dx, self.config.embedding_multiplier)?;
            let zeros = || Tensor::zeros((self.config.vocab_size, hidden), self.dtype, &self.device);
            sums.add(&self.embed, || zeros()?.index_add(&tokens, &dx, 0))?;
        }
        Ok(loss)
    }

    fn places(&self, rows: impl Iterator<Item = usize>) -> Result<Tensor> {
        let rows: Vec<u32> = rows.map(|row| u32::try_from(row).expect("a row fits 32 bits")).collect();
        Tensor::from_slice(&rows, rows.len(), &self.device)
    }

    /// Last norm, head and loss from the rows that are asked for (× hidden); with `sums` also their gradient.
    fn head(&self, (pack, asked): (&Pack, &[usize]), x: &Tensor, sums: Option<&mut Sums>) -> Result<(Loss, Option<Tensor>)> {
        let places = self.places(pack.scored.iter().map(|scored| asked.partition_point(|row| *row < scored.row)))?;
        let rows = x.index_select(&places, 0)?;
        let (normed, inverse) = self.norm.forward(&rows)?;
        // a factor on the logits is one on what the head is given
        let factor = self.config.logits_divisor.recip();
        let normed = times(normed, factor)?;
        let matrix = self.head.as_ref().unwrap_or(&self.embed);
        let Some(sums) = sums else { return cross_entropy(&normed, matrix, &pack.scored, self.limits.logits, None) };
        let (loss, dnormed) = cross_entropy(&normed, matrix, &pack.scored, self.limits.logits, Some(&mut *sums))?;
        let dnormed = times(dnormed.expect("a pack that is run has rows with a loss"), factor)?;
        let drows = self.norm.backward(&rows, &inverse, &dnormed, sums)?;
        Ok((loss, Some(x.zeros_like()?.index_add(&places, &drows, 0)?)))
    }
}
