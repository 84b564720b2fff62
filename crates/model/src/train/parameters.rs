//! Parameters as flat buffers, and where each Hugging Face or PEFT name lies in them.
//! Query, key and value share one buffer, and so do gate and up: each is one product. Knows names and shapes, no arithmetic.
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::float::Float;
use super::kernels::add;
use super::panels::Panels;
use crate::names::{FUSED, Norm, biased, norms};
pub(super) use crate::names::{Fused, Widths};
use crate::{Config, Error, Look};

/// Values of one kind. Shared until written; empty where there is nothing (no bias, no adapter, a frozen gradient).
pub(super) type Buffer<F> = Arc<Vec<F>>;

/// The values of a buffer, to be written: a copy of its own if others share it.
pub(super) fn own<F: Clone>(buffer: &mut Buffer<F>) -> &mut Vec<F> {
    Arc::make_mut(buffer)
}

/// One or more linear layers over the same input, their outputs side by side.
#[derive(Clone, Debug, Default)]
pub(super) struct Linear<F> {
    /// (outputs, inputs) of all parts, one below the other.
    pub weight: Buffer<F>,
    /// The weight again, laid out for its products; not where it learns.
    pub panels: Arc<Panels<F>>,
    /// (outputs), or empty.
    pub bias: Buffer<F>,
    /// (parts · rank, inputs), or empty.
    pub a: Buffer<F>,
    /// (outputs, rank), or empty.
    pub b: Buffer<F>,
}

/// One decoder layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer<F> {
    /// How it attends; of no meaning among gradients.
    pub look: Look,
    /// Gain of the norm before attention. Gains hold the offset that the files leave out.
    pub norm_in: Buffer<F>,
    /// Query, key, value.
    pub qkv: Linear<F>,
    /// Gain of the norms of the heads of queries, or empty.
    pub norm_query: Buffer<F>,
    /// The same of keys.
    pub norm_key: Buffer<F>,
    /// Output of attention.
    pub out: Linear<F>,
    /// Gain of the norm behind attention, or empty.
    pub norm_out: Buffer<F>,
    /// Gain of the norm before the feed-forward part.
    pub norm_mid: Buffer<F>,
    /// Gate, up.
    pub gate_up: Linear<F>,
    /// Down.
    pub down: Linear<F>,
    /// Gain of the norm behind the feed-forward part, or empty.
    pub norm_down: Buffer<F>,
}

impl<F: Float> Linear<F> {
    fn buffers(&mut self) -> [&mut Buffer<F>; 4] {
        [&mut self.weight, &mut self.bias, &mut self.a, &mut self.b]
    }

    fn buffer(&self, part: Part) -> &Buffer<F> {
        match part {
            Part::Weight => &self.weight,
            Part::Bias => &self.bias,
            Part::A => &self.a,
            Part::B => &self.b,
        }
    }

    fn buffer_mut(&mut self, part: Part) -> &mut Buffer<F> {
        match part {
            Part::Weight => &mut self.weight,
            Part::Bias => &mut self.bias,
            Part::A => &mut self.a,
            Part::B => &mut self.b,
        }
    }
}

impl<F: Float> Layer<F> {
    fn buffers(&mut self) -> impl Iterator<Item = &mut Buffer<F>> {
        let Self { look: _, norm_in, qkv, norm_query, norm_key, out, norm_out, norm_mid, gate_up, down, norm_down } = self;
        let norms = [norm_in, norm_mid, norm_query, norm_key, norm_out, norm_down];
        norms.into_iter().chain([qkv, out, gate_up, down].into_iter().flat_map(Linear::buffers))
    }

    fn linear(&self, fused: Fused) -> &Linear<F> {
        match fused {
            Fused::Qkv => &self.qkv,
            Fused::Out => &self.out,
            Fused::GateUp => &self.gate_up,
            Fused::Down => &self.down,
        }
    }

    fn linear_mut(&mut self, fused: Fused) -> &mut Linear<F> {
        match fused {
            Fused::Qkv => &mut self.qkv,
            Fused::Out => &mut self.out,
            Fused::GateUp => &mut self.gate_up,
            Fused::Down => &mut self.down,
        }
    }

    fn norm(&self, norm: Norm) -> &Buffer<F> {
        match norm {
            Norm::In => &self.norm_in,
            Norm::Query => &self.norm_query,
            Norm::Key => &self.norm_key,
            Norm::Out => &self.norm_out,
            Norm::Mid => &self.norm_mid,
            Norm::Down => &self.norm_down,
        }
    }

    fn norm_mut(&mut self, norm: Norm) -> &mut Buffer<F> {
        match norm {
            Norm::In => &mut self.norm_in,
            Norm::Query => &mut self.norm_query,
            Norm::Key => &mut self.norm_key,
            Norm::Out => &mut self.norm_out,
            Norm::Mid => &mut self.norm_mid,
            Norm::Down => &mut self.norm_down,
        }
    }

    /// Values of all buffers.
    pub fn elements(&self) -> usize {
        self.clone().buffers().map(|buffer| buffer.len()).sum()
    }

    /// Zeros where there is something.
    pub fn zeros(&self) -> Self {
        let mut zeros = self.clone();
        zeros.buffers().for_each(|buffer| *buffer = Arc::new(vec![F::ZERO; buffer.len()]));
        zeros
    }

    /// Adds another layer's values; both have the same buffers.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone(); // shares its buffers, copies none
        self.buffers().zip(other.buffers()).for_each(|(sum, other)| add(own(sum), other));
    }
}

/// The parameters of a decoder, or their gradients.
#[derive(Clone, Debug, Default)]
pub(super) struct Decoder<F> {
    /// (vocabulary, hidden).
    pub embed: Buffer<F>,
    /// In order.
    pub layers: Vec<Layer<F>>,
    /// Gain of the last norm.
    pub norm: Buffer<F>,
    /// (vocabulary, hidden), or empty where the embedding serves.
    pub head: Buffer<F>,
    /// What serves as the head again, laid out; not where it learns.
    pub head_panels: Arc<Panels<F>>,
}

/// A buffer of [`Decoder`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Embed,
    Norm,
    Head,
    LayerNorm(usize, Norm),
    Linear(usize, Fused, Part),
}

/// A buffer of [`Linear`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Weight,
    Bias,
    A,
    B,
}

/// A named tensor and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Hugging Face or PEFT name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    field: Field,
    start: usize,
    /// What its values are less than those that are computed with.
    pub offset: f64,
}

/// The weights of a model by their Hugging Face names.
pub(super) fn base_entries(config: &Config) -> Vec<Entry> {
    let (widths, vocabulary) = (Widths::of(config), config.vocab_size);
    let hidden = widths.hidden;
    let matrix = |name: &str, field| Entry { name: name.to_owned(), shape: vec![vocabulary, hidden], field, start: 0, offset: 0.0 };
    let gain = |name: &str, width, field| Entry {
        name: format!("{name}.weight"),
        shape: vec![width],
        field,
        start: 0,
        offset: config.gain_offset,
    };
    let mut entries = vec![matrix("model.embed_tokens.weight", Field::Embed), gain("model.norm", hidden, Field::Norm)];
    if !config.tie_word_embeddings {
        entries.push(matrix("lm_head.weight", Field::Head));
    }
    for layer in 0..config.num_hidden_layers {
        let norms = norms(config).into_iter();
        entries
            .extend(norms.map(|(norm, part, width)| gain(&format!("model.layers.{layer}.{part}"), width, Field::LayerNorm(layer, norm))));
        for fused in FUSED {
            let inputs = widths.inputs(fused);
            let mut above = 0;
            for (part, outputs) in widths.parts(fused).iter().zip(widths.outputs(fused).0) {
                let mut push = |kind: &str, shape: &[usize], part_of, start| {
                    let name = format!("model.layers.{layer}.{part}.{kind}");
                    entries.push(Entry { name, shape: shape.to_vec(), field: Field::Linear(layer, fused, part_of), start, offset: 0.0 });
                };
                push("weight", &[outputs, inputs], Part::Weight, above * inputs);
                if biased(config, fused) {
                    push("bias", &[outputs], Part::Bias, above);
                }
                above += outputs;
            }
        }
    }
    entries
}

/// The LoRA matrices of every linear of every layer by their PEFT names, without the `base_model.model.` prefix of files.
pub(super) fn adapter_entries(config: &Config, rank: usize) -> Vec<Entry> {
    let widths = Widths::of(config);
    let mut entries = Vec::new();
    for (layer, fused) in (0..config.num_hidden_layers).flat_map(|layer| FUSED.map(|fused| (layer, fused))) {
        let inputs = widths.inputs(fused);
        let mut above = 0;
        for (i, (part, outputs)) in widths.parts(fused).iter().zip(widths.outputs(fused).0).enumerate() {
            let mut push = |kind: &str, shape: [usize; 2], part_of, start| {
                let name = format!("model.layers.{layer}.{part}.{kind}.weight");
                entries.push(Entry { name, shape: shape.to_vec(), field: Field::Linear(layer, fused, part_of), start, offset: 0.0 });
            };
            push("lora_A", [rank, inputs], Part::A, i * rank * inputs);
            push("lora_B", [outputs, rank], Part::B, above * rank);
            above += outputs;
        }
    }
    entries
}

impl Entry {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Copies a tensor of this entry's shape to its place.
    pub fn load<F: Float>(&self, decoder: &mut Decoder<F>, tensor: &Tensor) -> Result<(), Error> {
        let mut values = tensor.flatten_all()?.to_vec1::<F>()?;
        if self.offset != 0.0 {
            values.iter_mut().for_each(|value| *value += F::from_f64(self.offset));
        }
        self.room(decoder).copy_from_slice(&values);
        Ok(())
    }

    /// Copies this entry's place out as a tensor, offset and all; it must be there.
    pub fn tensor<F: Float>(&self, decoder: &Decoder<F>) -> Result<Tensor, Error> {
        let values = &decoder.buffer(self.field)[self.start..self.start + self.len()];
        Ok(Tensor::from_slice(values, self.shape.as_slice(), &Device::Cpu)?)
    }

    /// This entry's place, made of zeros if it was not there yet.
    pub fn room<'a, F: Float>(&self, decoder: &'a mut Decoder<F>) -> &'a mut [F] {
        let buffer = own(decoder.buffer_mut(self.field));
        let end = self.start + self.len();
        if buffer.len() < end {
            buffer.resize(end, F::ZERO);
        }
        &mut buffer[self.start..end]
    }
}

impl<F: Float> Decoder<F> {
    /// A decoder whose buffers are all empty.
    pub fn empty(layers: usize) -> Self {
        Self { layers: (0..layers).map(|_| Layer::default()).collect(), ..Self::default() }
    }

    /// Lays out what is frozen once more, for its products.
    pub fn lay_out(&mut self, widths: Widths) {
        let panels = |weight: &Buffer<F>, inputs| Arc::new(Panels::new(weight, inputs));
        for layer in &mut self.layers {
            for fused in FUSED {
                let linear = layer.linear_mut(fused);
                linear.panels = panels(&linear.weight, widths.inputs(fused));
            }
        }
        self.head_panels = panels(if self.head.is_empty() { &self.embed } else { &self.head }, widths.hidden);
    }

    /// Zeros for each entry: what gradients are added up in.
    pub fn zeros(layers: usize, entries: &[Entry]) -> Self {
        let mut zeros = Self::empty(layers);
        for entry in entries {
            entry.room(&mut zeros);
        }
        zeros
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        let layer = |layer: &Layer<F>| {
            let linears = [&layer.qkv, &layer.out, &layer.gate_up, &layer.down];
            layer.elements() * size_of::<F>() + linears.map(|linear| linear.panels.bytes()).iter().sum::<usize>()
        };
        let around = (self.embed.len() + self.norm.len() + self.head.len()) * size_of::<F>() + self.head_panels.bytes();
        around + self.layers.iter().map(layer).sum::<usize>()
    }

    fn buffer(&self, field: Field) -> &Buffer<F> {
        match field {
            Field::Embed => &self.embed,
            Field::Norm => &self.norm,
            Field::Head => &self.head,
            Field::LayerNorm(layer, norm) => self.layers[layer].norm(norm),
            Field::Linear(layer, fused, part) => self.layers[layer].linear(fused).buffer(part),
        }
    }

    fn buffer_mut(&mut self, field: Field) -> &mut Buffer<F> {
        match field {
            Field::Embed => &mut self.embed,
            Field::Norm => &mut self.norm,
            Field::Head => &mut self.head,
            Field::LayerNorm(layer, norm) => self.layers[layer].norm_mut(norm),
            Field::Linear(layer, fused, part) => self.layers[layer].linear_mut(fused).buffer_mut(part),
        }
    }
}
