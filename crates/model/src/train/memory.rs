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

/// How many of the layers keep less than their way back needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    /// The first ones, which hand one room on from each to the next, and but for the last of them compute all again from their inputs.
    pub lean: usize,
    /// Those behind them, which compute gate and up again.
    pub slim: usize,
}

/// What a pack takes while it is computed.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// Bytes in any case: inputs of layers, buffers of one layer at work.
    fixed: usize,
    /// Bytes that a layer keeps for its way back.
    layer: usize,
    /// Bytes of them that a slim layer does not keep.
    slim: usize,
    /// Bytes of them that the last layer does not keep, because little is asked of it.
    spared: usize,
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
        Self {
            fixed,
            layer: rows * shared.row_values() * value,
            slim: rows * shared.slim_values() * value,
            spared: (rows - pack.asked().len()) * shared.asked_values() * value,
            layers,
        }
    }

    /// What is kept if the pack may take `bytes`: all, or as little less as does, first what is cheap to compute again. One layer
    /// keeps all at least, for it has to be somewhere.
    pub fn keep(self, bytes: usize) -> Keep {
        let (left, little) = (bytes.saturating_sub(self.fixed), self.layer - self.slim);
        if left + self.spared >= self.layer * self.layers {
            return Keep { lean: 0, slim: 0 };
        }
        // slim layers compute again into a room that they share
        match left.checked_sub(self.slim + little * self.layers) {
            Some(left) => Keep { lean: 0, slim: self.layers - left / self.slim.max(1) },
            None => {
                let left = left.saturating_sub(self.slim + self.layer);
                let behind = left / little.max(1);
                // what is left over lets some of them keep all; one that is slim alone would gain nothing from the room it needs
                let slim = behind - (left % little.max(1) / self.slim.max(1)).min(behind);
                Keep { lean: self.layers - behind, slim: if slim == 1 { 0 } else { slim } }
            }
        }
    }

    /// Bytes at least and at most.
    pub fn range(self) -> (usize, usize) {
        let most = self.fixed + self.layer * self.layers - self.spared;
        (most.min(self.fixed + self.layer), most)
    }
}

#[cfg(test)]
mod tests {
    use super::{Keep, Taken};

    #[test]
    fn as_much_is_kept_as_fits() {
        for (slim, spared) in [(6, 0), (3, 0), (6, 5), (3, 8)] {
            let taken = Taken { fixed: 100, layer: 10, slim, spared, layers: 6 };
            let bytes = |Keep { lean, slim }| {
                let shared = if slim > 0 { taken.slim } else { 0 };
                // what a bound leaves of the last layer's share is not reckoned with where layers keep less
                let spared = if lean + slim == 0 { taken.spared } else { 0 };
                taken.fixed + taken.layer * (6 - slim - lean + lean.min(1)) + (taken.layer - taken.slim) * slim + shared - spared
            };
            let mut before = taken.range().0;
            for most in 0..200 {
                let keep = taken.keep(most);
                assert!(bytes(keep) <= most.max(taken.range().0), "{keep:?} within {most}");
                assert!(bytes(keep) >= before, "no less is kept where there is more room");
                for slim in 0..keep.slim {
                    assert!(bytes(Keep { slim, ..keep }) > most, "{keep:?} within {most}, where {slim} slim layers do");
                }
                before = bytes(keep);
            }
        }
        let taken = Taken { fixed: 100, layer: 10, slim: 6, spared: 0, layers: 6 };
        let found = [0, 119, 120, 129, 130, 135, 136, 159, 160].map(|most| taken.keep(most)).map(|keep| (keep.lean, keep.slim));
        assert_eq!(found, [(6, 0), (6, 0), (5, 0), (3, 3), (0, 6), (0, 6), (0, 5), (0, 2), (0, 0)]);
        assert_eq!(taken.range(), (110, 160));
    }
}
