//! A histogram that merges: how long prompts are. Knows numbers.
use serde::{Deserialize, Serialize};

/// Bins for each doubling.
const STEPS: f64 = 4.0;

/// Counts of lengths in bins that grow by a quarter of a doubling, the same for every run; two
/// histograms merge by adding, whatever batches they came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lengths(Vec<u64>);

impl Lengths {
    /// Counts one length.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "four bins for each of 64 doublings")]
    pub fn add(&mut self, length: u64) {
        let bin = ((length as f64 + 1.0).log2() * STEPS).floor() as usize;
        if self.0.len() <= bin {
            self.0.resize(bin + 1, 0);
        }
        self.0[bin] += 1;
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// Lengths counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Both histograms over the same few bins that hold about a tenth of `self` each: its deciles as
    /// far as the fixed bins allow.
    pub(crate) fn deciles(&self, other: &Self) -> (Vec<u64>, Vec<u64>) {
        let tenth = self.total().div_ceil(10).max(1);
        let (mut before, mut after) = (vec![0], vec![0]);
        for bin in 0..self.0.len().max(other.0.len()) {
            let full = before.last().is_some_and(|count| *count >= tenth);
            if full {
                before.push(0);
                after.push(0);
            }
            let count = |lengths: &Self| lengths.0.get(bin).copied().unwrap_or_default();
            if let (Some(b), Some(a)) = (before.last_mut(), after.last_mut()) {
                *b += count(self);
                *a += count(other);
            }
        }
        (before, after)
    }
}

impl FromIterator<u64> for Lengths {
    fn from_iter<I: IntoIterator<Item = u64>>(lengths: I) -> Self {
        let mut found = Self::default();
        lengths.into_iter().for_each(|length| found.add(length));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Lengths;

    #[test]
    fn halves_merge_to_the_whole_and_deciles_keep_every_count() {
        let whole: Lengths = (0..1_000).collect();
        let mut half: Lengths = (0..500).collect();
        half.merge(&(500..1_000).collect());
        assert_eq!(whole, half);
        let (before, after) = whole.deciles(&(0..5_000).collect());
        assert!((4..=10).contains(&before.len()), "{before:?}");
        assert_eq!((before.iter().sum::<u64>(), after.iter().sum::<u64>()), (1_000, 5_000));
    }
}
