//! Texts: normal forms, shared words, ROUGE-L, chrF. Knows no call.
use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

/// Unicode NFC, trimmed.
pub(crate) fn standard(text: &str) -> String {
    text.trim().nfc().collect()
}

/// Unicode NFC, lower case, runs of blanks as one.
pub(crate) fn folded(text: &str) -> String {
    let text: String = text.nfc().collect();
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether two short texts say the same: equal when folded, or the same number.
pub(crate) fn same_short(expected: &str, got: &str) -> bool {
    match (expected.trim().parse::<f64>(), got.trim().parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => folded(expected) == folded(got),
    }
}

/// Lower-cased alphanumeric words: the tokens of [`rouge_l`].
fn words(text: &str) -> Vec<String> {
    text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// F1 over words as multisets.
pub(crate) fn words_f1(expected: &str, got: &str) -> f64 {
    let (expected, got) = (words(expected), words(got));
    let shared = shared(&counts(&expected), &counts(&got));
    f1(shared, expected.len(), got.len())
}

/// F1 over the longest common subsequence of words (Lin 2004), no stemming. Both empty is 1.
pub(crate) fn rouge_l(expected: &str, got: &str) -> f64 {
    let (expected, got) = (words(expected), words(got));
    let mut row = vec![0_usize; got.len() + 1];
    for word in &expected {
        let mut diagonal = 0;
        for (place, other) in got.iter().enumerate() {
            let above = row[place + 1];
            row[place + 1] = if word == other { diagonal + 1 } else { above.max(row[place]) };
            diagonal = above;
        }
    }
    f1(row[got.len()], expected.len(), got.len())
}

/// chrF2 (Popović 2015) as sacreBLEU computes it for one sentence, 0 to 1:
/// `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`.
pub(crate) fn chrf(expected: &str, got: &str) -> f64 {
    const ORDER: usize = 6;
    let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<_>>();
    let (expected, got) = (bare(expected), bare(got));
    if expected.is_empty() && got.is_empty() {
        return 1.0;
    }
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for order in 1..=ORDER {
        let (reference, hypothesis) = (grams(&expected, order), grams(&got, order));
        let (in_reference, in_hypothesis): (usize, usize) = (reference.values().sum(), hypothesis.values().sum());
        if in_reference > 0 && in_hypothesis > 0 {
            let shared = shared(&reference, &hypothesis) as f64;
            precision += shared / in_hypothesis as f64;
            recall += shared / in_reference as f64;
            orders += 1.0;
        }
    }
    if orders == 0.0 || precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    5.0 * precision * recall / (4.0 * precision + recall)
}

/// F1 from shared, expected and given numbers. Nothing expected and nothing given is 1.
pub(crate) fn f1(shared: usize, expected: usize, got: usize) -> f64 {
    if expected + got == 0 { 1.0 } else { 2.0 * shared as f64 / (expected + got) as f64 }
}

fn counts<T: Ord>(items: &[T]) -> BTreeMap<&T, usize> {
    let mut counts = BTreeMap::new();
    items.iter().for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

fn grams(text: &[char], order: usize) -> BTreeMap<&[char], usize> {
    let mut counts = BTreeMap::new();
    text.windows(order).for_each(|gram| *counts.entry(gram).or_default() += 1);
    counts
}

fn shared<T: Ord>(one: &BTreeMap<T, usize>, two: &BTreeMap<T, usize>) -> usize {
    one.iter().map(|(item, n)| two.get(item).map_or(0, |m| *n.min(m))).sum()
}

#[cfg(test)]
mod tests {
    use super::{chrf, rouge_l, same_short, words_f1};

    #[track_caller]
    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-6, "got {got}, expected {expected}");
    }

    #[test]
    fn short_texts() {
        assert!(same_short("42", " 42.0 ") && same_short("Hello  World", "hello world"));
        assert!(!same_short("42", "43") && !same_short("yes", "yes."));
    }

    #[test]
    fn empty_texts_are_equal_and_unlike_others() {
        for score in [rouge_l, chrf, words_f1] {
            close(score("", ""), 1.0);
            close(score("a", ""), 0.0);
            close(score("same words here", "same words here"), 1.0);
        }
    }
}
