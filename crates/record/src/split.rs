//! Leakage as a type: which conversations may be fitted on and which only judged.
use std::marker::PhantomData;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::{Call, Clean};

/// The three parts of a log. A conversation belongs to one of them by a hash of its id, never by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Tasks, selection and adapters are fitted on it.
    Train,
    /// Thresholds are fitted on it.
    Calibration,
    /// Only assigned, predicted and judged.
    Held,
}

/// How conversations are shared out; the rest is `train`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shares {
    /// Share of conversations for thresholds.
    pub calibration: f64,
    /// Share of conversations that are held out.
    pub held: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { calibration: 0.1, held: 0.35 }
    }
}

impl Split {
    /// The part a conversation belongs to: its id and the seed decide, and nothing that rotates.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "53 bits of a hash are plenty for a share")]
    pub fn of(conversation_id: &str, seed: u64, shares: Shares) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"slm-migrate split\0").update(&seed.to_le_bytes()).update(conversation_id.as_bytes());
        let hash = hasher.finalize();
        let mut eight = [0; 8];
        eight.copy_from_slice(&hash.as_bytes()[..8]);
        let point = (u64::from_le_bytes(eight) >> 11) as f64 / (1_u64 << 53) as f64;
        if point < shares.held {
            Self::Held
        } else if point < shares.held + shares.calibration {
            Self::Calibration
        } else {
            Self::Train
        }
    }
}

/// Marks a [`Part`] whose calls may be fitted on.
#[derive(Clone, Copy, Debug)]
pub enum Train {}
/// Marks a [`Part`] whose calls thresholds may be fitted on.
#[derive(Clone, Copy, Debug)]
pub enum Calibration {}
/// Marks a [`Part`] whose calls may only be assigned, predicted and judged.
#[derive(Clone, Copy, Debug)]
pub enum Held {}

/// Clean calls of one split. Made by [`split`] alone, so a step that takes `&Part<Train>` cannot be
/// handed a held-out conversation:
///
/// ```compile_fail,E0308
/// use record::{Held, Part, Train};
/// fn fit(_: &Part<Train>) {}
/// fn leak(held: &Part<Held>) {
///     fit(held);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Part<S> {
    calls: Vec<Clean<Call>>,
    split: PhantomData<S>,
}

impl<S> Part<S> {
    /// The calls for which `keep` holds. A part of a part is of the same split.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&Clean<Call>) -> bool) -> Self {
        Self { calls: self.calls.iter().filter(|call| keep(call)).cloned().collect(), split: PhantomData }
    }

    /// Adds the calls of another part of the same split.
    pub fn append(&mut self, mut other: Self) {
        self.calls.append(&mut other.calls);
    }
}

impl<S> Default for Part<S> {
    fn default() -> Self {
        Self { calls: Vec::new(), split: PhantomData }
    }
}

impl<S> Deref for Part<S> {
    type Target = [Clean<Call>];
    fn deref(&self) -> &[Clean<Call>] {
        &self.calls
    }
}

/// A log in its three parts.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// May be fitted on.
    pub train: Part<Train>,
    /// Thresholds may be fitted on it.
    pub calibration: Part<Calibration>,
    /// Only judged.
    pub held: Part<Held>,
}

/// Shares out clean calls by conversation.
#[must_use]
pub fn split(calls: impl IntoIterator<Item = Clean<Call>>, seed: u64, shares: Shares) -> Parts {
    let mut parts = Parts::default();
    for call in calls {
        match Split::of(&call.conversation_id, seed, shares) {
            Split::Train => parts.train.calls.push(call),
            Split::Calibration => parts.calibration.calls.push(call),
            Split::Held => parts.held.calls.push(call),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::{Shares, Split};

    #[test]
    fn shares_come_out_and_depend_on_the_seed() {
        let count = |seed| {
            let held = (0..20_000).filter(|i| Split::of(&format!("c{i}"), seed, Shares::default()) == Split::Held);
            held.collect::<Vec<_>>()
        };
        let (one, two) = (count(1), count(2));
        assert!((6_700..7_300).contains(&one.len()), "{}", one.len());
        assert_ne!(one, two);
        assert_eq!(one, count(1));
    }
}
