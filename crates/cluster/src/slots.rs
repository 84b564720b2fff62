//! Tells slots from template where a slot's values repeat.
//!
//! `The customer is Ann.` in forty calls is no template though it repeats: other calls have another name in its place
//! and the same prompt around it. A segment is held to be a slot's value if at least three others are worded like it,
//! never occur together with it, and stand in the same surroundings. Two wordings are two versions of a prompt, and
//! lines of a list occur together, so neither is taken for a slot.
use std::collections::{BTreeMap, BTreeSet};

use crate::sparse::{self, Sparse};
use crate::summary::Head;

/// So many other values make a slot.
const OTHERS: usize = 3;
/// Segments compared per first or last word; a slot with more values than this shows among them.
const COMPARED: usize = 200;
/// Surroundings are what at least this share of a segment's calls hold …
const AROUND: f64 = 0.8;
/// … and the same if their cosine reaches this.
const SAME: f32 = 0.7;

/// Segments of the vocabulary that are values of slots in these heads.
pub(crate) fn find(heads: &[&Head], vocabulary: &BTreeMap<u64, f32>, texts: &BTreeMap<u64, String>) -> BTreeSet<u64> {
    let mut holders: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, head) in heads.iter().enumerate() {
        let hashes: BTreeSet<u64> = head.system.iter().chain(&head.user).copied().collect();
        hashes.into_iter().for_each(|hash| holders.entry(hash).or_default().push(at));
    }
    let words: BTreeMap<u64, Vec<&str>> =
        holders.keys().filter_map(|hash| Some((*hash, texts.get(hash)?.split_whitespace().collect::<Vec<_>>()))).collect();
    let mut alike: BTreeMap<(bool, &str), Vec<u64>> = BTreeMap::new();
    for (hash, words) in &words {
        for key in [words.first().map(|word| (false, *word)), words.last().map(|word| (true, *word))].into_iter().flatten() {
            let group = alike.entry(key).or_default();
            if group.len() < COMPARED {
                group.push(*hash);
            }
        }
    }
    let is_slot = |hash: &&u64| {
        let (Some(own), Some(at)) = (words.get(*hash), holders.get(*hash)) else { return false };
        let groups = [alike.get(&(false, own[0])), alike.get(&(true, own[own.len() - 1]))];
        let near: BTreeSet<u64> = groups.into_iter().flatten().flatten().copied().filter(|other| other != *hash).collect();
        let near = near.into_iter().filter(|other| worded_alike(own, &words[other]) && disjoint(at, &holders[other]));
        let near: Vec<u64> = near.take(4 * OTHERS).collect();
        if near.len() < OTHERS {
            return false;
        }
        let mine = around(**hash, at, heads, vocabulary);
        near.into_iter().filter(|other| sparse::cosine(&mine, &around(*other, &holders[other], heads, vocabulary)) >= SAME).count()
            >= OTHERS
    };
    holders.keys().filter(|hash| vocabulary.contains_key(hash)).filter(is_slot).copied().collect()
}

/// Whether the words before and behind one gap are at least half of the longer segment.
fn worded_alike(one: &[&str], two: &[&str]) -> bool {
    let shorter = one.len().min(two.len());
    let before = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let behind = one.iter().rev().zip(two.iter().rev()).take(shorter - before).take_while(|(a, b)| a == b).count();
    2 * (before + behind) >= one.len().max(two.len())
}

fn disjoint(one: &[usize], two: &[usize]) -> bool {
    let (small, large) = if one.len() < two.len() { (one, two) } else { (two, one) };
    small.iter().all(|at| large.binary_search(at).is_err())
}

/// The other template segments that most calls with this one hold.
#[expect(clippy::cast_precision_loss, reason = "shares of calls")]
fn around(hash: u64, at: &[usize], heads: &[&Head], vocabulary: &BTreeMap<u64, f32>) -> Sparse {
    let mut calls: BTreeMap<u64, u64> = BTreeMap::new();
    for head in at.iter().map(|at| heads[*at]) {
        let hashes: BTreeSet<u64> = head.system.iter().chain(&head.user).copied().collect();
        hashes.into_iter().filter(|other| *other != hash).for_each(|other| *calls.entry(other).or_default() += head.calls);
    }
    let all: u64 = at.iter().map(|at| heads[*at].calls).sum();
    let most = calls.into_iter().filter(|(_, n)| *n as f64 >= AROUND * all as f64);
    most.filter_map(|(other, _)| Some((other, *vocabulary.get(&other)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::segment::segments;
    use crate::summary::Head;
    use std::collections::BTreeMap;

    fn slots_of(prompts: &[String]) -> Vec<String> {
        let mut texts = BTreeMap::new();
        let head = |prompt: &String| {
            let system = segments(prompt);
            Head { system: system.iter().map(|s| s.hash).collect(), calls: 5, ..Default::default() }
        };
        let heads: Vec<Head> = prompts.iter().map(head).collect();
        prompts.iter().flat_map(|prompt| segments(prompt)).for_each(|s| drop(texts.insert(s.hash, s.text)));
        let vocabulary = texts.iter().map(|(hash, text)| (*hash, crate::Segment::weight(text))).collect();
        find(&heads.iter().collect::<Vec<_>>(), &vocabulary, &texts).into_iter().map(|hash| texts[&hash].clone()).collect()
    }

    #[test]
    fn repeated_values_are_slots_and_versions_and_lists_are_not() {
        let prompt = |line: &str| format!("You answer questions in a game.\n{line}\nAnswer with yes or no as the last word.");
        let secrets: Vec<_> =
            ["apple", "toaster", "baseball bat", "old shoe", "river"].iter().map(|s| prompt(&format!("The secret is {s}."))).collect();
        assert_eq!(slots_of(&secrets).len(), 5);
        let versions: Vec<_> = ["Think first and take your time.", "Think first and be quick."].iter().map(|line| prompt(line)).collect();
        assert!(slots_of(&versions).is_empty());
        let list = "The field may be name of a person.\nThe field may be name of a town.\nThe field may be name of a firm.\nThe field may be name of a ship.";
        assert!(slots_of(&[prompt(list), prompt("Nothing else matters here.")]).is_empty());
    }

    #[test]
    fn agents_that_begin_alike_are_not_slots_of_one() {
        let prompts: Vec<_> = [
            ("routes tickets", "Name the queue and nothing else."),
            ("writes mails", "Begin with a greeting and be kind."),
            ("finds orders", "Give the order's number as JSON."),
            ("plans repairs", "List the steps that a technician takes."),
        ]
        .iter()
        .map(|(what, rest)| format!("You are an agent that {what}.\n{rest}"))
        .collect();
        assert!(slots_of(&prompts).is_empty());
    }
}
