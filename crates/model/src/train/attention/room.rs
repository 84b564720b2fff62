//! What the rows of a run look back on, gathered from the branches of the tree so that products find it in one piece. Knows no scores.
use super::Heads;
use super::run::Run;
use super::unit;
use crate::train::float::Float;

/// Buffers of a run: what a group's rows look back on, gathered from the branches of the tree, and what belongs to the queries of
/// a block, head after head.
#[derive(Default)]
pub(super) struct Room<F> {
    /// Keys × width.
    pub keys: Vec<F>,
    /// Width × keys.
    pub keys_across: Vec<F>,
    /// Keys × width.
    pub values: Vec<F>,
    /// Width × keys.
    pub values_across: Vec<F>,
    /// Gradients, keys × width.
    pub dkeys: Vec<F>,
    pub dvalues: Vec<F>,
    pub queries: Vec<F>,
    pub pulls: Vec<F>,
    pub out: Vec<F>,
    pub weights: Vec<F>,
    pub slopes: Vec<F>,
    /// What they are where the matrix unit does it.
    pub unit: unit::Room,
}

/// The columns of a group's heads from rows `stride` apart, head after head: heads · rows × width.
pub(super) fn gather<F: Float>(heads: Heads, group: usize, rows: &[F], stride: usize, count: usize, out: &mut Vec<F>) {
    out.clear();
    for head in heads.group(group) {
        for i in 0..count {
            out.extend_from_slice(&rows[i * stride + head * heads.width..][..heads.width]);
        }
    }
}

/// `width` columns from `column` on of the rows of a path, one behind the other.
pub(super) fn along<F: Float>(run: &Run<'_>, qkv: &[F], row: usize, (column, width): (usize, usize), out: &mut Vec<F>) {
    out.clear();
    for place in run.path().flat_map(|span| span.start..span.start + span.len) {
        out.extend_from_slice(&qkv[place * row + column..][..width]);
    }
}

/// The transposed matrix of `rows` rows.
pub(super) fn across<F: Float>(matrix: &[F], rows: usize, out: &mut Vec<F>) {
    /// Rows that are taken at once, so that what is written lies together.
    const STRIP: usize = 16;
    let width = matrix.len() / rows.max(1);
    out.resize(matrix.len(), F::ZERO);
    for (at, strip) in matrix.chunks(STRIP * width).enumerate() {
        for column in 0..width {
            let target = &mut out[column * rows + at * STRIP..][..strip.len() / width];
            target.iter_mut().zip(strip[column..].iter().step_by(width)).for_each(|(target, value)| *target = *value);
        }
    }
}
