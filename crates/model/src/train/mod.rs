//! Training of a decoder: exact loss and gradients of LoRA matrices or of all weights, for every family that is read.
//!
//! Forward and backward are written by hand over flat buffers, so nothing frozen gets a gradient, nothing is padded, what
//! sequences have in common is computed once, no
//! T × T or T × vocabulary matrix is kept, and the result has the same bits at any number of threads. Weights that lie on another
//! device than the CPU are trained there by a second engine, in `tensors`. Knows no optimiser, no schedule and no data.
pub(crate) mod attention; // shared with the forward-only decoder, as are `float`, `kernels`, `matmul` and `tiles`
mod branch;
mod cut;
#[cfg(test)]
mod differences;
pub(crate) mod float;
mod head;
pub(crate) mod kernels;
mod layer;
mod layout;
mod linear;
pub(crate) mod matmul;
mod memory;
mod panels;
mod parameters;
mod pass;
mod soft;
mod start;
mod tensors;
pub(crate) mod tiles;
pub(crate) mod vector;
mod work;

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::AddAssign;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::{Config, Error, Weights};
use float::Float;
pub use memory::Memory;
use parameters::{Decoder, Entry, Widths, adapter_entries, base_entries};
use pass::{Pass, Rooms};
pub use soft::Soft;
pub use work::{Peak, Work};

/// What of a model is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trainable {
    /// Low-rank additions `alpha / rank · B A` to all linears of every layer, as the files hold them (Hu et al. 2021, arXiv
    /// 2106.09685).
    Lora {
        /// Rank of each addition, at least 1.
        rank: usize,
        /// Scale times rank.
        alpha: f64,
    },
    /// Every weight.
    Full,
}

/// What products on a matrix unit keep of their factors. Sums, norms, gates, the adapters' own products, their gradients and all else
/// is f32 (or f64) whatever it is, and so is everything where there is no such unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// All of it: results are as exact as those of f32 vectors.
    #[default]
    F32,
    /// 16 bits, rounded to the nearest, as other trainers compute: a third of the products, or a sixth.
    Bf16,
}

impl Precision {
    /// Pieces of 16 bits that a factor is cut into.
    pub(crate) const fn pieces(self) -> tiles::Pieces {
        match self {
            Self::F32 => tiles::Pieces::Three,
            Self::Bf16 => tiles::Pieces::One,
        }
    }
}

/// One training sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// The tokens that are read.
    pub tokens: Vec<u32>,
    /// What each row must predict, as many as tokens; `None` has no loss.
    pub targets: Vec<Option<u32>>,
    /// How much each of its losses counts.
    pub weight: f32,
    /// By row: what a teacher expected there, in place of the row's target in the loss. Whether an answer is right, the target says.
    pub soft: BTreeMap<usize, Soft>,
}

impl Sequence {
    /// Tokens that both begin with.
    #[must_use]
    pub fn common(&self, other: &Self) -> usize {
        self.tokens.iter().zip(&other.tokens).take_while(|(one, other)| one == other).count()
    }
}

/// A loss that batches can add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Σ weight · negative log likelihood, of soft targets cross-entropy, in nats.
    pub sum: f64,
    /// Σ weight over the rows with a loss; `sum / weight` is the mean.
    pub weight: f64,
    /// Σ weight over the answers that greedy generation would write to the last token. An answer is a run of rows with a
    /// loss; it is right where each of its targets has the highest logit.
    pub right: f64,
    /// Σ weight over all answers.
    pub answers: f64,
}

impl AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.weight += other.weight;
        self.right += other.right;
        self.answers += other.answers;
    }
}

impl Sum for Loss {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut total, part| {
            total += part;
            total
        })
    }
}

/// Gradients of [`Loss::sum`] by the names of [`TrainModel::parameters`].
pub type Gradients = BTreeMap<String, Tensor>;

/// A decoder with trainable parameters.
#[derive(Debug)]
pub struct TrainModel {
    config: Config,
    trainable: Trainable,
    variables: BTreeMap<String, Var>,
    entries: Vec<Entry>,
    engine: Engine,
    /// Frozen values that are computed with an offset, as they were loaded: taking the offset off again would round.
    exact: BTreeMap<String, Tensor>,
    shares: bool,
    precision: Precision,
    memory: u64,
}

/// What computes, with the frozen parameters.
#[derive(Debug)]
enum Engine {
    /// By kernels on slices, on the CPU, in the type of the weights.
    F32(Decoder<f32>, Rooms<f32>),
    F64(Decoder<f64>, Rooms<f64>),
    /// By candle's tensor operations, on the device of the weights.
    Tensors(Weights),
}

impl TrainModel {
    /// A model to train from `weights` (f32, or f64 for exact tests), on the device where they lie. LoRA begins as PEFT does: A
    /// uniform in ±1/√inputs, drawn from `seed`, and B zero, so that the first loss is the base model's.
    ///
    /// # Errors
    /// When a weight is missing or misshapen, the rank is 0, or the type cannot be trained on.
    pub fn new(config: &Config, weights: Weights, trainable: Trainable, seed: u64) -> Result<Self, Error> {
        let slices = weights.tensors.values().all(|tensor| tensor.device().is_cpu());
        Self::with_engine(config, weights, trainable, seed, slices)
    }

    /// [`TrainModel::new`] with a choice of engine, so that the one for other devices can be tested on the CPU.
    fn with_engine(config: &Config, mut weights: Weights, trainable: Trainable, seed: u64, slices: bool) -> Result<Self, Error> {
        let all = base_entries(config);
        all.iter().try_for_each(|entry| weights.get(&entry.name, &entry.shape).map(|_| ()))?;
        weights.tensors.retain(|name, _| all.iter().any(|entry| entry.name == *name));
        let first = &weights.tensors["model.embed_tokens.weight"];
        let (dtype, device) = (first.dtype(), first.device().clone());
        let (entries, frozen, variables) = match trainable {
            Trainable::Full => {
                let variables = std::mem::take(&mut weights.tensors).into_iter();
                let variables = variables.map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?)));
                (all, Vec::new(), variables.collect::<Result<_, Error>>()?)
            }
            Trainable::Lora { rank: 0, .. } => {
                return Err(Error::Unsupported { key: "rank", found: "0".to_owned(), expected: "a rank of at least 1" });
            }
            Trainable::Lora { rank, .. } => {
                let entries = adapter_entries(config, rank);
                let variables = start::adapters(&entries, seed, dtype, &device)?;
                (entries, all, variables)
            }
        };
        let offset = frozen.iter().filter(|entry| entry.offset != 0.0);
        let exact = offset.map(|entry| (entry.name.clone(), weights.tensors[&entry.name].clone())).collect();
        let engine = match dtype {
            DType::F32 | DType::F64 if !slices => Engine::Tensors(weights),
            DType::F32 => Engine::F32(load(config, &frozen, weights)?, Rooms::default()),
            DType::F64 => Engine::F64(load(config, &frozen, weights)?, Rooms::default()),
            other => {
                return Err(Error::Unsupported { key: "dtype", found: format!("{other:?}"), expected: "weights loaded as f32 or f64" });
            }
        };
        Ok(Self {
            config: config.clone(),
            trainable,
            variables,
            entries,
            engine,
            exact,
            shares: true,
            precision: Precision::F32,
            memory: u64::MAX,
        })
    }

    /// A model to train from scratch, from [`random`] weights.
    ///
    /// # Errors
    /// When the type cannot be trained on.
    pub fn random(config: &Config, seed: u64, dtype: DType, device: &Device) -> Result<Self, Error> {
        Self::new(config, random(config, seed, dtype, device)?, Trainable::Full, seed)
    }

    /// Computes every sequence of a batch by itself if not `shares`: the same loss and gradients but for rounding, at the cost
    /// that other trainers have.
    #[must_use]
    pub fn sharing(self, shares: bool) -> Self {
        Self { shares, ..self }
    }

    /// Rounds what products with frozen weights and attention are computed from, where the CPU has a matrix unit of 16 bits.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Bounds the bytes that a step may take, weights included, as far as the CPU computes it: what does not fit is computed again.
    /// The results have the same bits.
    #[must_use]
    pub fn within(self, memory: u64) -> Self {
        Self { memory, ..self }
    }

    /// Bytes that a step over this batch takes. None where another device computes it.
    #[must_use]
    pub fn memory(&self, batch: &[Sequence]) -> Option<Memory> {
        let (fixed, (least, most)) = match &self.engine {
            Engine::F32(frozen, rooms) => (self.fixed(frozen), self.pass(frozen, rooms, batch).taken(batch, &self.entries)),
            Engine::F64(frozen, rooms) => (self.fixed(frozen), self.pass(frozen, rooms, batch).taken(batch, &self.entries)),
            Engine::Tensors(_) => return None,
        };
        Some(Memory { least: (fixed + least) as u64, most: (fixed + most) as u64 })
    }

    /// The trainable parameters. LoRA: `model.layers.0.self_attn.q_proj.lora_A.weight` (rank, inputs) and
    /// `….lora_B.weight` (outputs, rank); full: the Hugging Face names. Set them to take a step.
    #[must_use]
    pub fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is trained.
    #[must_use]
    pub fn trainable(&self) -> Trainable {
        self.trainable
    }

    /// Loss of a batch and the gradient of every parameter, of its type and on its device.
    ///
    /// # Errors
    /// When a sequence is malformed; the error says which.
    pub fn loss_and_gradients(&self, batch: &[Sequence]) -> Result<(Loss, Gradients), Error> {
        layout::check(batch, self.config.vocab_size)?;
        let run = |batch: &[Sequence]| match &self.engine {
            Engine::F32(frozen, rooms) => self.gradients(frozen, rooms, batch),
            Engine::F64(frozen, rooms) => self.gradients(frozen, rooms, batch),
            Engine::Tensors(base) => Ok(self.tensors(base)?.loss_and_gradients(batch)?),
        };
        let Some((short, long)) = self.parted(batch) else { return run(batch) };
        let ((mut loss, mut sums), (other, parts)) = (run(&short)?, run(&long)?);
        loss += other;
        for (name, part) in parts {
            let sum = (&sums[&name] + part)?;
            sums.insert(name, sum);
        }
        Ok((loss, sums))
    }

    /// Loss of a batch alone, a third of the work.
    ///
    /// # Errors
    /// As [`TrainModel::loss_and_gradients`].
    pub fn loss(&self, batch: &[Sequence]) -> Result<Loss, Error> {
        layout::check(batch, self.config.vocab_size)?;
        let run = |batch: &[Sequence]| match &self.engine {
            Engine::F32(frozen, rooms) => self.forward(frozen, rooms, batch),
            Engine::F64(frozen, rooms) => self.forward(frozen, rooms, batch),
            Engine::Tensors(base) => Ok(self.tensors(base)?.loss(batch)?),
        };
        let Some((short, long)) = self.parted(batch) else { return run(batch) };
        let mut loss = run(&short)?;
        loss += run(&long)?;
        Ok(loss)
    }

    /// The sequences of a batch that a long rope turns by its short factors and those that it turns by the long ones, if there are
    /// both: they have no row in common, however alike they begin.
    fn parted(&self, batch: &[Sequence]) -> Option<(Vec<Sequence>, Vec<Sequence>)> {
        let switch = self.config.rope_switch()?;
        let (short, long): (Vec<_>, Vec<_>) = batch.iter().cloned().partition(|sequence| sequence.tokens.len() <= switch);
        (!short.is_empty() && !long.is_empty()).then_some((short, long))
    }

    /// The whole model's weights by their Hugging Face names, adapters merged in (W + α / rank · B A).
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn merged(&self) -> Result<BTreeMap<String, Tensor>, Error> {
        let (rank, scale) = self.adapter();
        let merge = |entry: Entry| -> Result<(String, Tensor), Error> {
            if let Some(variable) = self.variables.get(&entry.name) {
                return Ok((entry.name, variable.as_detached_tensor().copy()?));
            }
            if let Some(tensor) = self.exact.get(&entry.name) {
                return Ok((entry.name, tensor.clone()));
            }
            let tensor = match &self.engine {
                Engine::F32(frozen, _) => entry.tensor(frozen)?,
                Engine::F64(frozen, _) => entry.tensor(frozen)?,
                Engine::Tensors(base) => base.tensors[&entry.name].clone(),
            };
            let of = |kind: &str| self.variables.get(&format!("{}.{kind}.weight", entry.name.trim_end_matches(".weight")));
            let tensor = match (of("lora_A"), of("lora_B")) {
                (Some(a), Some(b)) if rank > 0 => (tensor + (b.as_detached_tensor().matmul(&a.as_detached_tensor())? * scale)?)?,
                _ => tensor,
            };
            Ok((entry.name, tensor))
        };
        base_entries(&self.config).into_iter().map(merge).collect()
    }

    /// Rank (0 without adapters) and scale.
    fn adapter(&self) -> (usize, f64) {
        match self.trainable {
            Trainable::Full => (0, 0.0),
            Trainable::Lora { rank, alpha } => (rank, alpha / rank as f64),
        }
    }

    /// The frozen parameters with the present values of the others.
    fn present<F: Float>(&self, frozen: &Decoder<F>) -> Result<Decoder<F>, Error> {
        let mut decoder = frozen.clone();
        for entry in &self.entries {
            entry.load(&mut decoder, self.variables[&entry.name].as_tensor())?;
        }
        Ok(decoder)
    }

    fn tensors<'a>(&'a self, base: &'a Weights) -> Result<tensors::Pass<'a>, Error> {
        Ok(tensors::Pass::new(&self.config, &base.tensors, &self.variables, self.adapter().1)?)
    }

    /// Bytes of the weights, the trained values and, while a step is taken, their copies and gradients.
    fn fixed<F: Float>(&self, frozen: &Decoder<F>) -> usize {
        frozen.bytes() + 3 * memory::elements(&self.entries) * size_of::<F>()
    }

    fn pass<'a, F: Float>(&self, decoder: &'a Decoder<F>, rooms: &'a Rooms<F>, batch: &[Sequence]) -> Pass<'a, F> {
        let longest = batch.iter().map(|s| s.tokens.len()).max().unwrap_or(0);
        let (rank, scale) = self.adapter();
        Pass::new(&self.config, decoder, rooms, longest, rank, scale).sharing(self.shares).in_precision(self.precision)
    }

    fn forward<F: Float>(&self, frozen: &Decoder<F>, rooms: &Rooms<F>, batch: &[Sequence]) -> Result<Loss, Error> {
        Ok(self.pass(&self.present(frozen)?, rooms, batch).loss(batch))
    }

    fn gradients<F: Float>(&self, frozen: &Decoder<F>, rooms: &Rooms<F>, batch: &[Sequence]) -> Result<(Loss, Gradients), Error> {
        let decoder = self.present(frozen)?;
        let left = self.memory.saturating_sub(self.fixed(frozen) as u64);
        let pass = self.pass(&decoder, rooms, batch).within(usize::try_from(left).unwrap_or(usize::MAX));
        let (loss, sums) = pass.loss_and_gradients(batch, &self.entries);
        let gradients = self.entries.iter().map(|entry| Ok((entry.name.clone(), entry.tensor(&sums)?)));
        Ok((loss, gradients.collect::<Result<_, Error>>()?))
    }
}

/// Weights to begin from: matrices normal with deviation 0.02, those that write to the residual stream smaller by √(2 · layers)
/// (Radford et al. 2019), gains 1, biases 0.
///
/// # Errors
/// When a tensor operation fails.
pub fn random(config: &Config, seed: u64, dtype: DType, device: &Device) -> Result<Weights, Error> {
    Ok(Weights { tensors: start::weights(&base_entries(config), config.num_hidden_layers, seed, dtype, device)? })
}

/// What products and loops over vectors are computed with on this machine, in words.
#[must_use]
pub fn kernel(precision: Precision) -> String {
    let unit = match precision {
        _ if !tiles::there() => "",
        Precision::F32 => " + AMX (bfloat16 pieces of f32)",
        Precision::Bf16 => " + AMX (bfloat16)",
    };
    format!("{}{unit}", vector::kernel())
}

/// Moves the values of tensors to where the kernels look for them, one after the other.
fn load<F: Float>(config: &Config, entries: &[Entry], mut weights: Weights) -> Result<Decoder<F>, Error> {
    let mut decoder = Decoder::empty(config.num_hidden_layers);
    decoder.layers.iter_mut().zip(&config.layers).for_each(|(layer, look)| layer.look = *look);
    for entry in entries {
        let tensor = weights.tensors.remove(&entry.name).expect("every entry was looked up before");
        entry.load(&mut decoder, &tensor)?;
    }
    if !entries.is_empty() {
        decoder.lay_out(Widths::of(config));
    }
    Ok(decoder)
}
