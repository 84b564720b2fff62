//! Causal attention with grouped keys as tensor operations, forward and backward, over the sequences of a pack one by one and
//! a block of query rows at a time: scores exist for one block alone and are computed again on the way back.
//! Knows rows of queries, keys and values, no weights.
use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope_thd;

use crate::train::attention::{Heads, Span};
use crate::train::float::Float;
use crate::train::kernels::Rotations;
use crate::train::layout::Pack;
use crate::{Config, Look};

/// Query rows of a sequence that are taken at once.
struct Block {
    first: usize,
    count: usize,
    /// (count, first + count): 0 where a row may look, -∞ where it may not.
    mask: Tensor,
}

/// Attention over one pack.
pub(super) struct Attention {
    heads: Heads,
    /// Of each rope (T, turned dimensions / 2): cosine and sine of each row's position.
    tables: Vec<(Tensor, Tensor)>,
    sequences: Vec<Span>,
    /// By window and length of a sequence.
    blocks: BTreeMap<(Option<usize>, usize), Vec<Block>>,
}

/// The queries, keys and values of one sequence by group: (groups, shared · len, width) where blocks are cut from
/// (groups, shared, len, width), and (groups, len, width).
struct Grouped {
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
}

impl Attention {
    /// For the rows of `pack`; at most about `scores` scores exist at once.
    pub fn new(config: &Config, pack: &Pack, dtype: DType, device: &Device, scores: usize) -> Result<Self> {
        let heads = Heads::of(config);
        let sequences: Vec<Span> = pack.segments.iter().map(|segment| segment.own).collect();
        let longest = sequences.iter().map(|s| s.len).max().unwrap_or(0);
        let positions: Vec<u32> = pack.positions.iter().map(|p| u32::try_from(*p).expect("a position fits 32 bits")).collect();
        let positions = Tensor::from_vec(positions, pack.positions.len(), device)?;
        let rows = |(cos, sin): (Tensor, Tensor)| Ok((cos.index_select(&positions, 0)?, sin.index_select(&positions, 0)?));
        let tables = tables(config, longest, dtype, device)?.into_iter().map(rows).collect::<Result<_>>()?;
        let mut blocks = BTreeMap::new();
        for (window, len) in config.layers.iter().flat_map(|look| sequences.iter().map(|s| (look.window, s.len))) {
            if let std::collections::btree_map::Entry::Vacant(place) = blocks.entry((window, len)) {
                place.insert(cut(len, (scores / (heads.queries * len)).clamp(1, len), window, dtype, device)?);
            }
        }
        Ok(Self { heads, tables, sequences, blocks })
    }

    /// Turns rows (T × heads·width) by their positions, with the rope of a layer; `back` turns the other way, which is the
    /// gradient because a rotation's inverse is its transpose. Su et al. 2021, arXiv 2104.09864, half-split pairs.
    pub fn turn(&self, x: &Tensor, look: Look, back: bool) -> Result<Tensor> {
        let Some((cos, sin)) = look.rope.map(|rope| &self.tables[rope]) else { return Ok(x.clone()) };
        let (rows, columns) = x.dims2()?;
        let (width, turned) = (self.heads.width, 2 * cos.dim(1)?);
        let sin = if back { sin.neg()? } else { sin.clone() };
        let x = x.contiguous()?.reshape((1, rows, columns / width, width))?;
        if turned == width {
            return rope_thd(&x, cos, &sin)?.reshape((rows, columns));
        }
        let (first, rest) = (x.narrow(3, 0, turned)?.contiguous()?, x.narrow(3, turned, width - turned)?);
        Tensor::cat(&[rope_thd(&first, cos, &sin)?, rest], 3)?.reshape((rows, columns))
    }

    /// Results (T × queries·width) of turned queries and keys, and values. Vaswani et al. 2017, arXiv 1706.03762.
    pub fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor, look: Look) -> Result<Tensor> {
        let mut mixed = Vec::new();
        for sequence in &self.sequences {
            let grouped = self.grouped(q, k, v, *sequence)?;
            let blocks = self.blocks[&(look.window, sequence.len)].iter().map(|block| {
                let (_, weights) = self.weights(&grouped, block)?;
                self.split(&weights.matmul(&grouped.values.narrow(1, 0, block.first + block.count)?.contiguous()?)?, block.count)
            });
            mixed.push(self.rows(&Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 2)?)?);
        }
        Tensor::cat(&mixed, 0)
    }

    /// Gradients of turned queries and keys, and of values.
    pub fn backward(&self, [q, k, v]: [&Tensor; 3], mixed: &Tensor, dmixed: &Tensor, look: Look) -> Result<[Tensor; 3]> {
        let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in &self.sequences {
            let grouped = self.grouped(q, k, v, *sequence)?;
            let (mixed, dmixed) = (self.groups(mixed, *sequence)?, self.groups(dmixed, *sequence)?);
            let (mut dqueries, mut dkeys, mut dvalues) = (Vec::new(), Vec::new(), Vec::new());
            for block in &self.blocks[&(look.window, sequence.len)] {
                let seen = block.first + block.count;
                let (queries, weights) = self.weights(&grouped, block)?;
                let (mixed, dmixed) = (self.take(&mixed, block)?, self.take(&dmixed, block)?);
                let (keys, values) = (grouped.keys.narrow(1, 0, seen)?.contiguous()?, grouped.values.narrow(1, 0, seen)?.contiguous()?);
                // Σ over keys of weight · gradient is the product of a row's result with its gradient
                let total = (&mixed * &dmixed)?.sum_keepdim(D::Minus1)?;
                let slopes = (&weights * dmixed.matmul(&values.t()?)?.broadcast_sub(&total)?)?;
                dqueries.push(self.split(&(slopes.matmul(&keys)? * self.heads.scale::<f64>())?, block.count)?);
                dkeys.push(slopes.t()?.matmul(&queries)?.pad_with_zeros(1, 0, sequence.len - seen)?);
                dvalues.push(weights.t()?.matmul(&dmixed)?.pad_with_zeros(1, 0, sequence.len - seen)?);
            }
            dq.push(self.rows(&Tensor::cat(&dqueries, 2)?)?);
            dk.push(self.rows(&sum(&dkeys)?.unsqueeze(1)?)?);
            dv.push(self.rows(&sum(&dvalues)?.unsqueeze(1)?)?);
        }
        Ok([Tensor::cat(&dq, 0)?, Tensor::cat(&dk, 0)?, Tensor::cat(&dv, 0)?])
    }

    /// Queries of a block, already scaled (groups, shared·count, width), and their weights (groups, shared·count, seen).
    fn weights(&self, grouped: &Grouped, block: &Block) -> Result<(Tensor, Tensor)> {
        let queries = self.take(&grouped.queries, block)?;
        let keys = grouped.keys.narrow(1, 0, block.first + block.count)?.contiguous()?;
        let scores = self.split(&queries.matmul(&keys.t()?)?, block.count)?.broadcast_add(&block.mask)?;
        Ok((queries, softmax_last_dim(&scores)?.flatten(1, 2)?))
    }

    fn grouped(&self, q: &Tensor, k: &Tensor, v: &Tensor, sequence: Span) -> Result<Grouped> {
        let queries = (self.groups(q, sequence)? * self.heads.scale::<f64>())?;
        Ok(Grouped { queries, keys: self.groups(k, sequence)?.squeeze(1)?, values: self.groups(v, sequence)?.squeeze(1)? })
    }

    /// The rows of a sequence by group of heads: (groups, heads of a group, len, width).
    fn groups(&self, x: &Tensor, sequence: Span) -> Result<Tensor> {
        let Heads { keys, width, .. } = self.heads;
        let x = x.narrow(0, sequence.start, sequence.len)?.contiguous()?;
        x.reshape((sequence.len, keys, (), width))?.permute((1, 2, 0, 3))?.contiguous()
    }

    /// Back from [`Attention::groups`]: (len, heads·width).
    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        let (groups, shared, len, width) = x.dims4()?;
        x.permute((2, 0, 1, 3))?.contiguous()?.reshape((len, groups * shared * width))
    }

    /// The rows of a block: (groups, shared·count, width).
    fn take(&self, x: &Tensor, block: &Block) -> Result<Tensor> {
        x.narrow(2, block.first, block.count)?.contiguous()?.flatten(1, 2)
    }

    /// (groups, shared·count, columns) as (groups, shared, count, columns).
    fn split(&self, x: &Tensor, count: usize) -> Result<Tensor> {
        let (groups, _, columns) = x.dims3()?;
        x.reshape((groups, (), count, columns))
    }
}

fn sum(parts: &[Tensor]) -> Result<Tensor> {
    let (first, rest) = parts.split_first().expect("a sequence has a block");
    rest.iter().try_fold(first.clone(), |sum, part| sum + part)
}

/// Blocks of `step` rows of a sequence.
fn cut(len: usize, step: usize, window: Option<usize>, dtype: DType, device: &Device) -> Result<Vec<Block>> {
    let window = window.unwrap_or(usize::MAX);
    let block = |first: usize| {
        let count = step.min(len - first);
        let sees = move |i: usize, j: usize| j <= first + i && first + i - j < window;
        let row = |i: usize| (0..first + count).map(move |j| if sees(i, j) { 0.0 } else { f32::NEG_INFINITY });
        let mask = Tensor::from_vec((0..count).flat_map(row).collect::<Vec<_>>(), (count, first + count), device)?;
        Ok(Block { first, count, mask: mask.to_dtype(dtype)? })
    };
    (0..len).step_by(step).map(block).collect()
}

/// Cosines and sines of each rope (positions, turned dimensions / 2), rounded as the engine on slices rounds them.
fn tables(config: &Config, positions: usize, dtype: DType, device: &Device) -> Result<Vec<(Tensor, Tensor)>> {
    if dtype == DType::F64 {
        return Rotations::<f64>::of(config, positions, positions).into_iter().map(|table| tensors(table, positions, device)).collect();
    }
    let tables = Rotations::<f32>::of(config, positions, positions).into_iter().map(|table| {
        let (cos, sin) = tensors(table, positions, device)?;
        Ok((cos.to_dtype(dtype)?, sin.to_dtype(dtype)?))
    });
    tables.collect()
}

fn tensors<F: Float>(table: Rotations<F>, positions: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let (cos, sin) = table.into_parts();
    let shape = (positions, cos.len() / positions.max(1));
    Ok((Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?))
}
