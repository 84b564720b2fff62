//! An embedder without weights: counts of words, word pairs and letter groups, hashed into a fixed number of dimensions.
//!
//! Weinberger et al. 2009, arXiv 0902.2206: a sign from the hash makes collisions cancel instead of adding up.
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Embedder, normalise};
use crate::Error;

/// Hashed word 1- and 2-grams and letter 3- to 5-grams, `1 + ln(count)` each, times an inverse document frequency if one was fitted.
#[derive(Clone, Debug)]
pub struct HashEmbedder {
    dimension: usize,
    idf: Option<BTreeMap<u64, f32>>,
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self::new(512)
    }
}

impl HashEmbedder {
    /// An embedder into `dimension` dimensions (at least 1).
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { dimension: dimension.max(1), idf: None }
    }

    /// The same with `ln((1 + n) / (1 + texts that hold it)) + 1` as the weight of each feature; one that no text holds weighs the most.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts of texts are far below 2^53; weights are f32")]
    pub fn fit(mut self, texts: &[&str]) -> Self {
        let lists: Vec<_> = texts.par_iter().map(|text| features(text)).collect();
        let mut holders: BTreeMap<u64, u64> = BTreeMap::new();
        lists.iter().flat_map(BTreeMap::keys).for_each(|feature| *holders.entry(*feature).or_default() += 1);
        let all = 1.0 + texts.len() as f64;
        self.idf = Some(holders.into_iter().map(|(feature, n)| (feature, ((all / (1.0 + n as f64)).ln() + 1.0) as f32)).collect());
        if let Some(idf) = &mut self.idf {
            // the weight of what was never seen, under a key no feature has
            idf.insert(UNSEEN, (all.ln() + 1.0) as f32);
        }
        self
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.dimension];
        for (feature, weight) in features(text) {
            let idf = self.idf.as_ref().map_or(1.0, |idf| idf.get(&feature).or_else(|| idf.get(&UNSEEN)).copied().unwrap_or(1.0));
            let sign = if feature >> 63 == 0 { 1.0 } else { -1.0 };
            vector[((feature & (u64::MAX >> 1)) % self.dimension as u64) as usize] += sign * weight * idf;
        }
        normalise(&mut vector);
        vector
    }
}

impl Embedder for HashEmbedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        Ok(texts.par_iter().map(|text| self.vector(text)).collect())
    }

    fn dimension(&self) -> usize {
        self.dimension
    }
}

/// Key under which the weight of unseen features lies. No feature hashes to it: see [`hash`].
const UNSEEN: u64 = u64::MAX;

/// Letters are many and say less each than words do.
const LETTERS: f32 = 0.5;

/// Features of a text with their weights. Words are runs of letters and digits, in lower case; letter groups stay within a word and
/// know its ends.
#[expect(clippy::cast_precision_loss, reason = "a text has far fewer words than 2^24")]
fn features(text: &str) -> BTreeMap<u64, f32> {
    let lower = text.to_lowercase();
    let words: Vec<_> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut counts: BTreeMap<u64, (u32, f32)> = BTreeMap::new();
    let mut count = |hash: u64, weight: f32| {
        let entry = counts.entry(hash).or_insert((0, weight));
        entry.0 += 1;
    };
    for word in &words {
        count(hash(b'w', &[word]), 1.0);
        let marked: Vec<char> = std::iter::once('^').chain(word.chars()).chain(std::iter::once('$')).collect();
        for size in 3..=5 {
            for group in marked.windows(size) {
                count(hash(b'c', &[&group.iter().collect::<String>()]), LETTERS);
            }
        }
    }
    for pair in words.windows(2) {
        count(hash(b'p', pair), 1.0);
    }
    counts.into_iter().map(|(feature, (n, weight))| (feature, weight * (1.0 + (n as f32).ln()))).collect()
}

/// 64-bit FNV-1a with a final mix: fixed for ever, since stored centroids depend on it.
fn hash(kind: u8, parts: &[&str]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = std::iter::once(kind).chain(parts.iter().flat_map(|part| part.bytes().chain(std::iter::once(0xff))));
    for byte in bytes {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (state ^ (state >> 33)).min(UNSEEN - 1)
}

#[cfg(test)]
mod tests {
    use super::{Embedder, HashEmbedder};

    fn similarity(embedder: &HashEmbedder, a: &str, b: &str) -> f32 {
        let vectors = embedder.embed(&[a, b]).expect("hashing cannot fail");
        vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn like_texts_are_near_and_unlike_ones_are_not() {
        let embedder = HashEmbedder::default();
        let near = similarity(&embedder, "Where is my order?", "where are my orders");
        let far = similarity(&embedder, "Where is my order?", "Reset the password of the account");
        assert!(near > 0.4 && far.abs() < 0.2, "{near} {far}");
        assert!((similarity(&embedder, "Straße 5", "straße 5") - 1.0).abs() < 1e-6);
    }

    #[test]
    fn vectors_have_length_one_and_never_change() {
        let vectors = HashEmbedder::new(8).embed(&["route the ticket", ""]).expect("hashing cannot fail");
        assert!((vectors[0].iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(vectors[1], [0.0; 8]);
        let rounded: Vec<_> = vectors[0].iter().map(|x| (x * 1000.0).round()).collect();
        assert_eq!(rounded, GOLDEN);
    }

    /// Stored centroids depend on these: if they change, `REVISION`s must.
    const GOLDEN: [f32; 8] = [620.0, -248.0, 372.0, 248.0, 124.0, 372.0, 372.0, 248.0];

    #[test]
    fn what_every_text_says_counts_less_once_fitted() {
        let texts = ["please route ticket alpha", "please route ticket beta", "please route ticket gamma"];
        let plain = similarity(&HashEmbedder::default(), texts[0], texts[1]);
        let fitted = similarity(&HashEmbedder::default().fit(&texts), texts[0], texts[1]);
        assert!(fitted < plain, "{fitted} {plain}");
    }
}
