//! The whole decoder over a batch: shards side by side, each on one thread, their gradients added in a fixed order, so
//! that the bits are the same at any number of threads. Knows flat buffers, no names and no tensors.
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::attention::Heads;
use super::branch::Style;
use super::cut::Cut;
use super::float::Float;
use super::head::{Head, HeadGradient, cross_entropy};
use super::kernels::{Rotations, add, rms_norm, rms_norm_back, scale};
use super::layer::{Kept, Over, Scratch, Shared, Work};
use super::layout::{Limits, Pack, Scored, plan};
use super::linear::Form;
use super::memory::{self, Keep, Taken};
use super::parameters::{Buffer, Decoder, Entry, Fused, Layer, Widths, own};
use super::{Loss, Precision, Sequence};
use crate::Config;

/// Most shards of a batch. A constant, because the sums of gradients must not depend on the machine.
const SHARDS: usize = 8;

/// Rows of a pack, unless one sequence alone has more or a long beginning is shared: enough for full speed of the products, few
/// enough for the cache.
const PACK: usize = 512;

/// Gradient elements over all shards, above which fewer shards are made.
const GRADIENT_ELEMENTS: usize = 1 << 30;

/// Most chunks of a wide pack. A constant, because the sums of gradients must not depend on the machine.
const CHUNKS: usize = 16;

/// Gradient elements of one layer over all chunks, above which fewer chunks are made.
const CHUNK_ELEMENTS: usize = 1 << 28;

/// Buffers of one shard at work.
#[derive(Debug, Default)]
struct Room<F> {
    kept: Vec<Kept<F>>,
    scratch: Scratch<F>,
    x: Vec<F>,
    again: Vec<F>,
}

impl<F> Room<F> {
    /// Rows that it had room for.
    fn size(&self) -> usize {
        self.x.capacity()
    }
}

/// Rooms that wait for their next shard, so that memory is asked for once.
#[derive(Debug, Default)]
pub(super) struct Rooms<F>(Mutex<Vec<Room<F>>>);

impl<F: Float> Rooms<F> {
    /// Lends a room; a pack that is alone gets the largest one, and the others are given up, for it may need all memory there is.
    fn with<R>(&self, wide: bool, work: impl FnOnce(&mut Room<F>) -> R) -> R {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rooms = lock();
        rooms.sort_by_key(Room::size);
        let mut room = rooms.pop().unwrap_or_default();
        if wide {
            rooms.clear();
        }
        drop(rooms);
        let result = work(&mut room);
        lock().push(room);
        result
    }
}

/// A decoder ready to be computed.
pub(super) struct Pass<'a, F> {
    decoder: &'a Decoder<F>,
    shared: Shared<F>,
    rooms: &'a Rooms<F>,
    memory: usize,
    shares: bool,
}

impl<'a, F: Float> Pass<'a, F> {
    /// For sequences up to `longest`; `rank` is 0 without adapters, `scale` is α / rank.
    pub fn new(config: &Config, decoder: &'a Decoder<F>, rooms: &'a Rooms<F>, longest: usize, rank: usize, scale: f64) -> Self {
        let widths = Widths::of(config);
        let form = |fused| Form::new(widths, fused, rank, F::from_f64(scale));
        let shared = Shared {
            heads: Heads::of(config),
            hidden: widths.hidden,
            inner: widths.inner,
            eps: F::from_f64(config.rms_norm_eps),
            style: Style::of(config),
            qkv: form(Fused::Qkv),
            out: form(Fused::Out).times(F::from_f64(config.residual_multiplier)),
            gate_up: form(Fused::GateUp),
            down: form(Fused::Down).times(F::from_f64(config.residual_multiplier)),
            rotations: Rotations::of(config, longest, longest),
        };
        Self { decoder, shared, rooms, memory: usize::MAX, shares: true }
    }

    /// Whether what sequences have in common is computed once.
    pub fn sharing(self, shares: bool) -> Self {
        Self { shares, ..self }
    }

    /// What products on the matrix unit keep of their factors.
    pub fn in_precision(mut self, precision: Precision) -> Self {
        let Shared { heads, qkv, out, gate_up, down, .. } = &mut self.shared;
        heads.precision = precision;
        [qkv, out, gate_up, down].into_iter().for_each(|form| *form = form.in_precision(precision));
        self
    }

    /// Bytes that all packs at work may take together. A pack that may not keep what all its layers need on their way back has
    /// some compute gate and up again, or where that is not enough all of it from their inputs: at most the way forward twice (Chen et
    /// al. 2016, arXiv 1604.06174; Korthikanti et al. 2022, arXiv 2205.05198), the same bits.
    pub fn within(self, memory: usize) -> Self {
        Self { memory, ..self }
    }

    /// Bytes that the packs of a batch take side by side, and the sums of gradients: at least and at most.
    pub fn taken(&self, batch: &[Sequence], entries: &[Entry]) -> (usize, usize) {
        let plan = self.plan(batch, entries);
        let side = side_by_side(&plan);
        let wide = if plan.len() == 1 { rayon::current_num_threads() } else { 1 };
        let of = |pack| Taken::of(&self.shared, pack, self.decoder.layers.len(), wide).range();
        let packs: Vec<(usize, usize)> = plan.iter().flatten().map(of).collect();
        let most = |of: fn(&(usize, usize)) -> usize| side * packs.iter().map(of).max().unwrap_or(0);
        let sums = plan.len() * memory::elements(entries) * size_of::<F>();
        (sums + most(|(least, _)| *least), sums + most(|(_, most)| *most))
    }

    fn plan(&self, batch: &[Sequence], entries: &[Entry]) -> Vec<Vec<Pack>> {
        let shards = (GRADIENT_ELEMENTS / memory::elements(entries).max(1)).clamp(1, SHARDS);
        plan(batch, Limits { shards, rows: PACK, share: self.shares })
    }

    /// Loss alone.
    pub fn loss(&self, batch: &[Sequence]) -> Loss {
        let shards = plan(batch, Limits { shards: SHARDS, rows: PACK, share: self.shares });
        let wide = shards.len() == 1;
        let losses: Vec<Loss> = shards
            .par_iter()
            .map(|packs| self.rooms.with(wide, |room| packs.iter().map(|pack| self.run(pack, (wide, 0), room, None)).sum()))
            .collect();
        losses.into_iter().sum()
    }

    /// Loss and the gradients of `entries`, all others frozen.
    pub fn loss_and_gradients(&self, batch: &[Sequence], entries: &[Entry]) -> (Loss, Decoder<F>) {
        let layers = self.decoder.layers.len();
        let plan = self.plan(batch, entries);
        let (wide, share) = (plan.len() == 1, self.memory / side_by_side(&plan));
        let mut shards: Vec<(Loss, Decoder<F>)> = plan
            .par_iter()
            .map(|packs| {
                let mut gradient = Decoder::zeros(layers, entries);
                let loss =
                    self.rooms.with(wide, |room| packs.iter().map(|pack| self.run(pack, (wide, share), room, Some(&mut gradient))).sum());
                (loss, gradient)
            })
            .collect();
        let loss = shards.iter().map(|(loss, _)| *loss).sum();
        let total = add_up(shards.drain(..).map(|(_, gradient)| gradient).collect());
        (loss, total.unwrap_or_else(|| Decoder::zeros(layers, entries)))
    }

    /// One pack; `wide` if no other is computed beside it. It takes no more than so many bytes, if that can be.
    fn run(&self, pack: &Pack, (wide, bytes): (bool, usize), room: &mut Room<F>, gradient: Option<&mut Decoder<F>>) -> Loss {
        if pack.scored.is_empty() {
            return Loss::default();
        }
        let learning = gradient.as_ref().and_then(|gradient| gradient.layers.first()).map_or(0, Layer::elements);
        let cut = Cut::new(pack.tokens.len(), if wide { (CHUNK_ELEMENTS / learning.max(1)).clamp(1, CHUNKS) } else { 1 });
        let (shared, decoder) = (&self.shared, self.decoder);
        let hidden = shared.hidden;
        let layers = decoder.layers.len();
        room.kept.resize_with(layers, Kept::default);
        let Room { kept, scratch, x, again } = room;
        x.clear();
        for token in &pack.tokens {
            x.extend_from_slice(&decoder.embed[*token as usize * hidden..][..hidden]);
        }
        scale(x, shared.style.embedding);
        let threads = if wide { rayon::current_num_threads() } else { 1 };
        let bytes = if gradient.is_some() { bytes } else { usize::MAX };
        let Keep { lean, slim } = Taken::of(shared, pack, layers, threads).keep(bytes);
        kept[..lean].iter_mut().skip(1).for_each(|kept| kept.work = Work::default());
        if slim == 0 {
            scratch.none_slim();
        }
        let asked = pack.asked();
        let some = (asked.len() < pack.tokens.len()).then_some(asked.as_slice());
        let over = |i| Over { pack, cut, asked: if i + 1 == layers { some } else { None } };
        for (i, layer) in decoder.layers.iter().enumerate() {
            let at = if gradient.is_some() { i } else { 0 };
            if i > 0 && i < lean {
                kept[i].work = std::mem::take(&mut kept[i - 1].work);
            }
            std::mem::swap(&mut kept[at].x, x);
            let slim = (lean..lean + slim).contains(&i);
            shared.forward(layer, over(i), (&mut kept[at], slim), scratch, x);
        }
        let Some(gradient) = gradient else { return self.head((pack, &asked), wide, x, None) };
        let loss = self.head((pack, &asked), wide, x, Some(gradient));
        // where the embedding is frozen, nobody asks for the gradient of the first layer's input
        let wanted = if gradient.embed.is_empty() { 1 } else { 0 };
        for (i, (layer, slot)) in decoder.layers.iter().zip(&mut gradient.layers).enumerate().rev() {
            if i + 1 < lean {
                kept[i].work = std::mem::take(&mut kept[i + 1].work);
                shared.forward(layer, over(i), (&mut kept[i], false), scratch, again);
            }
            shared.backward((layer, slot), over(i), &kept[i], scratch, x, i >= wanted);
        }
        if !gradient.embed.is_empty() {
            let embed = own(&mut gradient.embed);
            scale(x, shared.style.embedding);
            for (token, dx) in pack.tokens.iter().zip(x.chunks_exact(hidden)) {
                add(&mut embed[*token as usize * hidden..][..hidden], dx);
            }
        }
        loss
    }

    /// Last norm, head and loss; `x` holds the rows that are asked for. With gradients, it leaves as the gradient of these rows.
    fn head(&self, (pack, asked): (&Pack, &[usize]), wide: bool, x: &mut [F], gradient: Option<&mut Decoder<F>>) -> Loss {
        let (hidden, decoder) = (self.shared.hidden, self.decoder);
        // a row is there for each that scores it
        let place = |scored: &Scored| asked.partition_point(|row| *row < scored.row) * hidden;
        let rows: Vec<F> = pack.scored.iter().flat_map(|scored| x[place(scored)..][..hidden].iter().copied()).collect();
        let (mut normed, mut inverse) = (vec![F::ZERO; rows.len()], vec![F::ZERO; pack.scored.len()]);
        rms_norm(&rows, &decoder.norm, self.shared.eps, &mut normed, &mut inverse);
        // a factor on the logits is one on what the head is given
        scale(&mut normed, self.shared.style.logits);
        let tied = decoder.head.is_empty();
        let matrix = if tied { &decoder.embed } else { &decoder.head };
        let head = Head { matrix, panels: &decoder.head_panels, hidden, precision: self.shared.heads.precision };
        let Some(gradient) = gradient else { return cross_entropy(&normed, head, &pack.scored, None, wide) };
        let mut dnormed = vec![F::ZERO; rows.len()];
        let slot = own(if tied { &mut gradient.embed } else { &mut gradient.head });
        let loss = cross_entropy(&normed, head, &pack.scored, Some(HeadGradient { rows: &mut dnormed, matrix: slot }), wide);
        scale(&mut dnormed, self.shared.style.logits);
        let mut drows = normed;
        drows.fill(F::ZERO);
        rms_norm_back(&rows, &decoder.norm, &inverse, &dnormed, &mut drows, own(&mut gradient.norm));
        x.fill(F::ZERO);
        for (scored, dx) in pack.scored.iter().zip(drows.chunks_exact(hidden)) {
            add(&mut x[place(scored)..][..hidden], dx);
        }
        loss
    }
}

/// How many shards of a plan are computed at the same time.
fn side_by_side(plan: &[Vec<Pack>]) -> usize {
    plan.len().min(rayon::current_num_threads()).max(1)
}

/// Sum of gradients, first to last.
fn add_up<F: Float>(gradients: Vec<Decoder<F>>) -> Option<Decoder<F>> {
    let mut gradients = gradients.into_iter();
    let mut total = gradients.next()?;
    let rest: Vec<_> = gradients.collect();
    let each = |slot: &mut Buffer<F>, of: &dyn Fn(&Decoder<F>) -> &Buffer<F>| {
        let slot = own(slot);
        rest.iter().for_each(|other| add(slot, of(other)));
    };
    each(&mut total.embed, &|d| &d.embed);
    each(&mut total.norm, &|d| &d.norm);
    each(&mut total.head, &|d| &d.head);
    total.layers.par_iter_mut().enumerate().for_each(|(i, layer)| rest.iter().for_each(|other| layer.add(&other.layers[i])));
    Some(total)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{DType, Device};

    use super::super::{Engine, Sequence, TrainModel, Trainable, random};
    use super::{Pass, SHARDS, memory};
    use crate::Config;

    #[test]
    fn what_is_computed_again_has_the_same_bits() {
        for rank in [0, 2] {
            again("llama", rank);
            again("gemma3_text", rank);
        }
    }

    /// With adapters of a rank, or all weights if it is 0.
    fn again(family: &str, rank: usize) {
        let text = r#"{"model_type": "FAMILY", "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 8,
            "vocab_size": 30, "hidden_size": 12, "intermediate_size": 10, "num_hidden_layers": 4,
            "num_attention_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}"#;
        let config = Config::from_json(text.replace("FAMILY", family).as_bytes(), "test").expect("a good configuration");
        let trainable = if rank == 0 { Trainable::Full } else { Trainable::Lora { rank, alpha: 4.0 } };
        let weights = random(&config, 1, DType::F32, &Device::Cpu).expect("small weights");
        let model = TrainModel::new(&config, weights, trainable, 1).expect("a small model");
        for parameter in model.parameters().values() {
            // no adapter without effect
            parameter.as_tensor().affine(1.0, 0.01).and_then(|moved| parameter.set(&moved)).expect("a value");
        }
        let sequence =
            |len: u32| Sequence { tokens: (0..len).collect(), targets: (1..=len).map(Some).collect(), weight: 1.0, soft: BTreeMap::new() };
        let batch = [sequence(20), sequence(9), sequence(29)];
        let Engine::F32(frozen, rooms) = &model.engine else { panic!("the model is f32") };
        let decoder = model.present(frozen).expect("the present values");
        let run = |memory| {
            let pass = Pass::new(&config, &decoder, rooms, 29, rank, 2.0).within(memory);
            let (loss, gradient) = pass.loss_and_gradients(&batch, &model.entries);
            (loss, format!("{gradient:?}"))
        };
        let (least, most) = Pass::new(&config, &decoder, rooms, 29, rank, 2.0).taken(&batch, &model.entries);
        let whole = run(usize::MAX);
        // both take in the sums of gradients, on which a pass has no bound
        let sums = SHARDS * memory::elements(&model.entries) * size_of::<f32>();
        let steps = (least - sums..=most).step_by((most - least) / 20);
        for memory in steps.chain([0, usize::MAX, 0]) {
            assert_eq!(whole, run(memory));
        }
    }
}
