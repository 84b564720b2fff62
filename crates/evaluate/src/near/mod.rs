//! Which prompts nearly repeat one that is held out or calibrated on: what finetune must not learn from.
//!
//! Sees those parts, as this crate may, and gives away nothing but yes or no.
//!
//! All prompts of a task share instructions, tools and phrases, so two of them are alike only where both of these are: all that
//! varies (runs of three words that at most half of the task's conversations hold), and of that what is rare (runs that fewer than five
//! of them hold). The second tells two questions about one document, or two forms filled in alike, from copies; the first two topics
//! under one signature. Alike means a Jaccard similarity of at least 0.8 by default, as in Lee et al. (2021), *Deduplicating Training
//! Data Makes Language Models Better*. The search is exact: two sets so alike have one of their rarest members in common (prefix filter,
//! Bayardo et al. 2007, *Scaling Up All Pairs Similarity Search*).
mod shingles;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use rayon::prelude::*;
use record::{Parts, Prompt, Withheld};

use shingles::{mix, shingles};

/// Train conversations that what varies is counted on; of more, so many are drawn.
const COUNTED: usize = 1_024;
/// A shingle is rare in fewer of them.
const RECURRING: u64 = 5;
/// Bits of a shingle's key, the lowest, that are its hash; above them stand the conversations it was counted in, so that keys
/// are sorted by rarity.
const HASH_BITS: u32 = 53;

type Map<V> = HashMap<u64, V, BuildHasherDefault<Ready>>;

/// Fingerprints of the prompts of the held and the calibration part. They answer [`Withheld`] and nothing else.
pub struct HeldPrompts {
    /// Least Jaccard similarity of near copies.
    similarity: f64,
    /// Conversations that were counted.
    conversations: u64,
    /// Of them, those that hold a shingle, where there are two at least.
    counts: Map<u64>,
    /// Keys of what varies in each different prompt, rarest first.
    prompts: Vec<Vec<u64>>,
    /// Prompts by each of their rarest keys.
    index: Map<Vec<u32>>,
    /// Whether nothing varies in one of them.
    constant: bool,
}

impl HeldPrompts {
    /// Fingerprints of the prompts of `parts` that are held out or calibrated on. What varies is learnt from the train part.
    /// `similarity` is that from which on prompts are near copies, above 0 and up to 1.
    #[must_use]
    pub fn of(parts: &Parts, similarity: f64) -> Self {
        let (conversations, counts) = count(parts);
        let mut held = Self { similarity, conversations, counts, prompts: Vec::new(), index: Map::default(), constant: false };
        let calls: Vec<Prompt<'_>> = parts.calibration.iter().chain(parts.held.iter()).map(|call| call.prompt()).collect();
        let different: BTreeSet<Vec<u64>> = calls.into_par_iter().map(|prompt| held.varying(prompt)).collect();
        held.constant = different.first().is_some_and(Vec::is_empty);
        for keys in different.into_iter().filter(|keys| !keys.is_empty()) {
            let place = u32::try_from(held.prompts.len()).expect("prompts in memory are fewer than 2^32");
            keys[..held.prefix(keys.len())].iter().for_each(|key| held.index.entry(*key).or_default().push(place));
            held.prompts.push(keys);
        }
        held
    }

    /// Keys of what varies in a prompt, sorted.
    fn varying(&self, prompt: Prompt<'_>) -> Vec<u64> {
        let key = |hash: u64| {
            let count = self.counts.get(&hash).copied().unwrap_or(0);
            (count * 2 <= self.conversations).then_some(count << HASH_BITS | hash >> (u64::BITS - HASH_BITS))
        };
        let mut keys: Vec<u64> = shingles(prompt).into_iter().filter_map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// How many of the rarest of so many keys, one at least, must hold one of any set that is alike.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    fn prefix(&self, keys: usize) -> usize {
        // a hair less than the share, so that rounding leaves no pair out
        let common = ((self.similarity - 1e-9) * keys as f64).ceil() as usize;
        keys + 1 - common.clamp(1, keys)
    }

    /// Whether two sets of keys are alike, and what is rare in them.
    fn alike(&self, one: &[u64], other: &[u64]) -> bool {
        let rare = |keys: &[u64]| keys.partition_point(|key| key >> HASH_BITS < RECURRING);
        let (of_one, of_other) = (rare(one), rare(other));
        self.reaches(&one[..of_one], &other[..of_other]) && self.reaches(one, other)
    }

    /// Whether the Jaccard similarity of two sorted sets is high enough; that of two empty ones is 1.
    #[expect(clippy::cast_precision_loss, reason = "shingles of a prompt")]
    fn reaches(&self, one: &[u64], other: &[u64]) -> bool {
        let enough = |common: usize, union: usize| common as f64 >= (self.similarity - 1e-9) * union as f64;
        // what they have in common is no more than the smaller of them
        if !enough(one.len().min(other.len()), one.len().max(other.len())) {
            return false;
        }
        let (mut i, mut j, mut common) = (0, 0, 0);
        while let (Some(x), Some(y)) = (one.get(i), other.get(j)) {
            common += usize::from(x == y);
            (i, j) = (i + usize::from(x <= y), j + usize::from(y <= x));
        }
        enough(common, one.len() + other.len() - common)
    }
}

impl Withheld for HeldPrompts {
    fn near(&self, prompt: Prompt<'_>) -> bool {
        let keys = self.varying(prompt);
        if keys.is_empty() {
            return self.constant;
        }
        let found: BTreeSet<u32> =
            keys[..self.prefix(keys.len())].iter().filter_map(|key| self.index.get(key)).flatten().copied().collect();
        found.into_iter().any(|place| self.alike(&keys, &self.prompts[place as usize]))
    }
}

/// How many train conversations were counted, and how many of them hold each shingle that two hold at least.
fn count(parts: &Parts) -> (u64, Map<u64>) {
    let mut conversations = BTreeMap::<(u64, &str), Vec<Prompt<'_>>>::new();
    for call in parts.train.iter() {
        let id = call.conversation_id.as_str();
        conversations.entry((id.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte))), id)).or_default().push(call.prompt());
    }
    // in the order of hashes: a sample that no order of the log bends
    let counted: Vec<Vec<Prompt<'_>>> = conversations.into_values().take(COUNTED).collect();
    let mut counts = Map::default();
    for calls in counted.chunks(64) {
        let union = |calls: &Vec<Prompt<'_>>| {
            let mut all: Vec<u64> = calls.iter().flat_map(|prompt| shingles(*prompt)).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let found: Vec<Vec<u64>> = calls.par_iter().map(union).collect();
        found.into_iter().flatten().for_each(|hash| *counts.entry(hash).or_default() += 1);
    }
    counts.retain(|_, count| *count > 1);
    counts.shrink_to_fit();
    (counted.len() as u64, counts)
}

/// Hashes what is a hash already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        // keys have counts where hash tables look first
        self.0 = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests;
