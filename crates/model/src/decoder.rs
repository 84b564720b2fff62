//! A decoder that only runs forward, on the CPU, in f32. Knows token ids, no text.
//!
//! Rows of any sequences and positions go through the layers together, so nothing is padded; each call is single-threaded and
//! callers run several side by side.
use crate::cache::{Cache, Path, Reader};
use crate::linear::{Linear, values};
use crate::lora::Lora;
use crate::names::{Fused, Norm, Widths, biased, norms};
use crate::train::attention::Room;
use crate::train::kernels::{Rotations, add, gate, norm_heads, rms_norm, scale};
use crate::train::matmul::Old;
use crate::train::tiles::Unit;
use crate::{Config, Error, Weights};

struct Layer {
    norm_in: Vec<f32>,
    qkv: Linear,
    /// Gains of the norms of heads, or empty; so are those of branches.
    head_norms: [Vec<f32>; 2],
    out: Linear,
    norm_out: Vec<f32>,
    norm_mid: Vec<f32>,
    gate_up: Linear,
    down: Linear,
    norm_down: Vec<f32>,
}

impl Layer {
    fn take(config: &Config, weights: &Weights, lora: Option<&Lora>, index: usize) -> Result<Self, Error> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let widths = Widths::of(config);
        let linear = |fused| {
            let parts = widths.parts(fused).iter().zip(widths.outputs(fused).0);
            let parts: Vec<_> = parts.map(|(part, outputs)| (name(part), outputs)).collect();
            Linear::take(weights, lora, &parts, widths.inputs(fused), biased(config, fused))
        };
        let norms = norms(config);
        let norm = |norm: Norm| match norms.iter().find(|(found, ..)| *found == norm) {
            Some((_, part, width)) => gain(config, weights, &name(part), *width),
            None => Ok(Vec::new()),
        };
        Ok(Self {
            norm_in: norm(Norm::In)?,
            qkv: linear(Fused::Qkv)?,
            head_norms: [norm(Norm::Query)?, norm(Norm::Key)?],
            out: linear(Fused::Out)?.times(config.residual_multiplier),
            norm_out: norm(Norm::Out)?,
            norm_mid: norm(Norm::Mid)?,
            gate_up: linear(Fused::GateUp)?,
            down: linear(Fused::Down)?.times(config.residual_multiplier),
            norm_down: norm(Norm::Down)?,
        })
    }
}

/// Gain of the norm `name`, all of it: what is stored and the offset.
#[expect(clippy::cast_possible_truncation, reason = "all is computed in f32")]
fn gain(config: &Config, weights: &Weights, name: &str, width: usize) -> Result<Vec<f32>, Error> {
    let mut gain = values(weights, &format!("{name}.weight"), &[width])?;
    gain.iter_mut().for_each(|gain| *gain += config.gain_offset as f32);
    Ok(gain)
}

/// A decoder with its weights laid out for speed.
pub struct Decoder {
    config: Config,
    /// (vocabulary, hidden)
    embed: Vec<f32>,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Linear,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A token to be read: whose, and where.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub token: u32,
    pub position: usize,
    pub path: &'a Path,
    /// Whether what comes after it is asked for.
    pub wanted: bool,
}

/// Whose rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Those of prompts, in order: many look back on the same.
    Prefill,
    /// The last of each answer.
    Decode,
}

/// Buffers that a thread uses again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    inverse: Vec<f32>,
    wide: Vec<f32>,
    narrow: Vec<f32>,
    room: Room,
}

/// The first `length` elements of a buffer that grows as needed.
fn part(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

impl Decoder {
    /// Lays out the weights of a decoder.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape than the configuration asks for; the error names it.
    pub fn new(config: &Config, weights: &Weights) -> Result<Self, Error> {
        Self::tuned(config, weights, None)
    }

    /// The same with an adapter, if there is one.
    ///
    /// # Errors
    /// As [`Decoder::new`], and when the adapter changes a matrix that is missing or of another shape.
    pub fn tuned(config: &Config, weights: &Weights, lora: Option<&Lora>) -> Result<Self, Error> {
        lora.map_or(Ok(()), |lora| lora.check(weights))?;
        let embed = values(weights, "model.embed_tokens.weight", &[config.vocab_size, config.hidden_size])?;
        let head = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        let layers = (0..config.num_hidden_layers).map(|index| Layer::take(config, weights, lora, index));
        Ok(Self {
            config: config.clone(),
            embed,
            layers: layers.collect::<Result<_, _>>()?,
            norm: gain(config, weights, "model.norm", config.hidden_size)?,
            head: Linear::take(weights, lora, &[(head.to_owned(), config.vocab_size)], config.hidden_size, false)?
                .times(config.logits_divisor.recip()),
        })
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Logits after each token of one sequence: tokens × vocabulary.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.logits_from(0, tokens)
    }

    /// Refuses tokens outside the vocabulary.
    pub(crate) fn check(&self, tokens: &[u32]) -> Result<(), Error> {
        match tokens.iter().find(|&&token| token as usize >= self.config.vocab_size) {
            Some(token) => Err(Error::Tokenizer(format!("token {token} is beyond the model's {} embeddings", self.config.vocab_size))),
            None => Ok(()),
        }
    }

    /// Rotary tables for positions below `length`, as sequences of `whole` tokens are turned.
    pub(crate) fn rotations(&self, length: usize, whole: usize) -> Vec<Rotations<f32>> {
        Rotations::of(&self.config, length, whole)
    }

    /// Reads rows into the cache. Tokens that a row looks back on are in the cache already, or stand before it among the rows.
    /// Appends the normed last hidden state of each wanted row to `last`.
    pub(crate) fn read(
        &self,
        phase: Phase,
        rows: &[Row<'_>],
        turns: &[Rotations<f32>],
        cache: &mut Cache,
        scratch: &mut Scratch,
        last: &mut Vec<f32>,
    ) {
        let hidden = self.config.hidden_size;
        let mut x = std::mem::take(&mut scratch.x);
        x.clear();
        for row in rows {
            x.extend_from_slice(&self.embed[row.token as usize * hidden..][..hidden]);
        }
        #[expect(clippy::cast_possible_truncation, reason = "all is computed in f32")]
        scale(&mut x, self.config.embedding_multiplier as f32);
        let mut pass = Pass { decoder: self, phase, rows, turns, cache, scratch };
        for index in 0..self.layers.len() {
            pass.attend(index, &mut x);
            pass.feed(&self.layers[index], &mut x);
        }
        let start = last.len();
        last.resize(start + x.len(), 0.0);
        let inverse = part(&mut scratch.inverse, x.len() / hidden);
        rms_norm(&x, &self.norm, self.epsilon(), &mut last[start..], inverse);
        scratch.x = x;
    }

    /// Adds what a branch made, `linear` of `y`, to the residual stream `x`, normed first where there is a gain.
    fn join(&self, linear: &Linear, gain: &[f32], y: &[f32], x: &mut [f32], [branch, normed, inverse]: [&mut Vec<f32>; 3]) {
        if gain.is_empty() {
            return linear.apply(y, x, Old::Add);
        }
        let (branch, normed) = (part(branch, x.len()), part(normed, x.len()));
        linear.apply(y, branch, Old::Drop);
        rms_norm(branch, gain, self.epsilon(), normed, part(inverse, x.len() / self.config.hidden_size));
        add(x, normed);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the constant is used in f32, as the weights are")]
    const fn epsilon(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    /// Logits of normed hidden states: rows × vocabulary.
    pub(crate) fn head(&self, last: &[f32]) -> Vec<f32> {
        let mut logits = vec![0.0; last.len() / self.config.hidden_size * self.config.vocab_size];
        self.head.apply(last, &mut logits, Old::Drop);
        logits
    }
}

/// Rows on their way through the layers.
struct Pass<'a> {
    decoder: &'a Decoder,
    phase: Phase,
    rows: &'a [Row<'a>],
    turns: &'a [Rotations<f32>],
    cache: &'a mut Cache,
    scratch: &'a mut Scratch,
}

impl Pass<'_> {
    /// The attention half of a layer over the rows in `x`. In the last layer only the wanted rows stay in `x` once the keys and values
    /// of all are stored: nothing looks back on the others' hidden states any more.
    fn attend(&mut self, index: usize, x: &mut Vec<f32>) {
        let (decoder, Scratch { normed: normed_rows, inverse, wide, narrow, room, .. }) = (self.decoder, &mut *self.scratch);
        let (config, layer) = (&decoder.config, &decoder.layers[index]);
        let (hidden, count, stride) = (config.hidden_size, self.rows.len(), layer.qkv.outputs);
        let (query_heads, key_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (mixed, keys) = (query_heads * config.head_dim, key_heads * config.head_dim);

        let normed = part(normed_rows, count * hidden);
        rms_norm(x, &layer.norm_in, decoder.epsilon(), normed, part(inverse, count));
        let qkv = part(wide, count * stride);
        layer.qkv.apply(normed, qkv, Old::Drop);
        let [query, key] = &layer.head_norms;
        if !query.is_empty() {
            let (raw, inverse) = (part(narrow, count * (mixed + keys)), part(inverse, count * (query_heads + key_heads)));
            norm_heads(qkv, stride, [query_heads, key_heads], [query, key], decoder.epsilon(), raw, inverse);
        }
        let look = config.layers[index];
        if let Some(rope) = look.rope {
            let positions: Vec<_> = self.rows.iter().map(|row| row.position).collect();
            self.turns[rope].turn(qkv, stride, query_heads + key_heads, &positions, false);
        }
        for (row, qkv) in self.rows.iter().zip(qkv.chunks_exact(stride)) {
            let slot = row.path.slot(row.position).expect("a row lies on its own path");
            self.cache.write(index, slot, &qkv[mixed..mixed + keys], &qkv[mixed + keys..]);
        }

        let all = index + 1 < decoder.layers.len();
        let kept: Vec<_> = (0..count).filter(|&i| all || self.rows[i].wanted).collect();
        for (to, &from) in kept.iter().enumerate().filter(|(to, from)| to != *from) {
            x.copy_within(from * hidden..(from + 1) * hidden, to * hidden);
            qkv.copy_within(from * stride..(from + 1) * stride, to * stride);
        }
        x.truncate(kept.len() * hidden);
        let reader = |&i: &usize| Reader { path: self.rows[i].path, position: self.rows[i].position };
        let readers: Vec<_> = kept.iter().map(reader).collect();
        let attended = part(narrow, readers.len() * mixed);
        // few rows are left of a prompt in the last layer
        match (all && self.phase == Phase::Prefill).then(Unit::begin).flatten() {
            Some(unit) => self.cache.attend_runs(&unit, index, &readers, look.window, (qkv, stride), attended, room),
            None => self.cache.attend(index, &readers, look.window, (qkv, stride), attended),
        }
        decoder.join(&layer.out, &layer.norm_out, attended, x, [wide, normed_rows, inverse]);
    }

    /// The feed-forward half of a layer over the rows in `x`.
    fn feed(&mut self, layer: &Layer, x: &mut [f32]) {
        let (decoder, Scratch { normed: normed_rows, inverse, wide, narrow, .. }) = (self.decoder, &mut *self.scratch);
        let (hidden, inner) = (decoder.config.hidden_size, decoder.config.intermediate_size);
        let count = x.len() / hidden;
        let normed = part(normed_rows, count * hidden);
        rms_norm(x, &layer.norm_mid, decoder.epsilon(), normed, part(inverse, count));
        let gate_up = part(wide, count * 2 * inner);
        layer.gate_up.apply(normed, gate_up, Old::Drop);
        let gated = part(narrow, count * inner);
        gate(decoder.config.activation, gate_up, inner, gated);
        decoder.join(&layer.down, &layer.norm_down, gated, x, [wide, normed_rows, inverse]);
    }
}
