//! What a step takes of memory, and what becomes of a bound on it: layers that keep less compute it again.
//! Knows counts of rows and values, computes nothing.
use super::attention::LISTS;
use super::float::Float;
use super::head::LOGITS;
use super::layer::Shared;
use super::layout::Pack;
use super::parameters::Entry;

/// Bytes that [`super::TrainModel::loss_and_gradients`] of a batch takes, weights included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Where every layer but one computes again what its way back needs.
    pub least: u64,
    /// Where every layer keeps it.
    pub most: u64,
}

/// Values of the entries together.
pub(super) fn elements(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.shape.iter().product::<usize>()).sum()
}

/// What a pack takes while it is computed.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// Bytes in any case: inputs of layers, buffers of one layer at work.
    fixed: usize,
    /// Bytes that a layer keeps for its way back.
    layer: usize,
    layers: usize,
}

impl Taken {
    pub fn of<F: Float>(shared: &Shared<F>, pack: &Pack, layers: usize, threads: usize) -> Self {
        let (rows, value) = (pack.tokens.len(), size_of::<F>());
        let heads = shared.heads;
        // the residual stream: an input a layer, the one at hand, one to compute again into
        let stream = shared.hidden * (layers + 2);
        // `Scratch`; and on the way back through attention lists of gradients side by side
        let scratch = 2 * shared.hidden + 4 * shared.inner + heads.mixed() + heads.row();
        let attention = heads.row() * if threads > 1 { LISTS } else { 1 };
        let scored = pack.scored.len().min(rows) * 4 * shared.hidden;
        let fixed = (rows * (stream + scratch + attention) + scored + threads * LOGITS) * value;
        Self { fixed, layer: rows * shared.row_values() * value, layers }
    }

    /// How many layers may keep what their way back needs if the pack may take `bytes`; one at least, for it has to be somewhere.
    pub fn layers(self, bytes: usize) -> usize {
        (bytes.saturating_sub(self.fixed) / self.layer.max(1)).clamp(1, self.layers.max(1))
    }

    /// Bytes with so many layers that keep it.
    pub fn bytes(self, layers: usize) -> usize {
        self.fixed + self.layer * layers
    }

    /// Bytes at least and at most.
    pub fn range(self) -> (usize, usize) {
        (self.bytes(1), self.bytes(self.layers))
    }
}

#[cfg(test)]
mod tests {
    use super::Taken;

    #[test]
    fn as_many_layers_keep_as_fit() {
        let taken = Taken { fixed: 100, layer: 10, layers: 6 };
        assert_eq!([0, 119, 120, 159, 160, usize::MAX].map(|bytes| taken.layers(bytes)), [1, 1, 2, 5, 6, 6]);
        assert_eq!(taken.range(), (110, 160));
    }
}
