//! Work saved without changing what is learnt: equal examples become one, and an example that is the beginning of
//! another becomes part of it. Exact, since attention is causal: a token's loss depends on what stands before it alone, unless a long
//! rope turns it otherwise in a longer sequence.
use std::collections::BTreeMap;

use model::train::Soft;

use crate::examples::{Example, only};
use crate::{Sequence, soft};

/// Both savings. Of equal calls `most` count at most. Sequences of more than `switch` tokens are computed otherwise than shorter
/// ones, if there is such a number.
pub(crate) fn all(examples: Vec<Example>, most: u64, switch: Option<usize>) -> Vec<Example> {
    turns(duplicates(examples, most), switch.unwrap_or(usize::MAX))
}

/// Equal sequences become one that counts the square root of their number, of which `most` count, times their mean weight: what is
/// frequent is learnt better, but what is rare is not drowned.
fn duplicates(examples: Vec<Example>, most: u64) -> Vec<Example> {
    let mut firsts = BTreeMap::<(Vec<u32>, Vec<Option<u32>>), usize>::new();
    let mut kept: Vec<Example> = Vec::new();
    let mut expected: Vec<Vec<(BTreeMap<usize, Soft>, u64)>> = Vec::new();
    for mut example in examples {
        let key = (example.sequence.tokens.clone(), example.sequence.targets.clone());
        let soft = (std::mem::take(&mut example.sequence.soft), example.calls);
        match firsts.get(&key) {
            Some(first) => {
                kept[*first].calls += example.calls;
                kept[*first].tokens += example.tokens;
                expected[*first].push(soft);
                kept[*first].sequence.weight += example.sequence.weight;
            }
            None => {
                firsts.insert(key, kept.len());
                kept.push(example);
                expected.push(vec![soft]);
            }
        }
    }
    for (example, expected) in kept.iter_mut().zip(&expected) {
        let expected: Vec<_> = expected.iter().map(|(soft, calls)| (soft, *calls)).collect();
        example.sequence.soft = soft::mean(&expected, &example.sequence.targets);
        #[expect(clippy::cast_precision_loss, reason = "a count of equal calls")]
        let (counted, all) = (example.calls.min(most) as f32, example.calls as f32);
        example.sequence.weight = counted.sqrt() * (example.sequence.weight / all);
    }
    kept
}

/// Keeps the first `most` of equal sequences each. Says how many were dropped.
pub(crate) fn bound(examples: &mut Vec<Example>, most: u64) -> u64 {
    let mut seen = BTreeMap::<(&[u32], &[Option<u32>]), u64>::new();
    let mut keep = Vec::with_capacity(examples.len());
    for example in examples.iter() {
        let count = seen.entry((&example.sequence.tokens, &example.sequence.targets)).or_default();
        *count += 1;
        keep.push(*count <= most);
    }
    only(examples, keep)
}

/// The calls of one conversation repeat what came before: where the whole of one call is the beginning of another
/// with the same weight, its answer is learnt there. 3 to 10 times fewer tokens on logs of agents.
fn turns(mut examples: Vec<Example>, switch: usize) -> Vec<Example> {
    // read with its last target, whatever begins with a sequence then stands right behind it
    examples.sort_by_cached_key(|example| {
        let Sequence { tokens, targets, .. } = &example.sequence;
        (tokens.iter().copied().chain(targets.last().copied().flatten()).collect::<Vec<u32>>(), targets.clone())
    });
    let mut kept: Vec<Example> = Vec::new();
    for mut example in examples {
        while let Some(shorter) = kept.pop_if(|shorter| begins(shorter, &example, switch)) {
            for (target, earlier) in example.sequence.targets.iter_mut().zip(&shorter.sequence.targets) {
                *target = target.or(*earlier);
            }
            example.sequence.soft.extend(shorter.sequence.soft);
            example.calls += shorter.calls;
            example.tokens += shorter.tokens;
            example.answers += shorter.answers;
        }
        kept.push(example);
    }
    kept
}

/// Whether all of `shorter`, its last target included, is read by `longer`, which has no loss there yet, and computed alike.
#[expect(clippy::float_cmp, reason = "weights of equal counts are computed alike")]
fn begins(shorter: &Example, longer: &Example, switch: usize) -> bool {
    let (short, long) = (&shorter.sequence, &longer.sequence);
    let end = short.targets.last().copied().flatten();
    short.weight == long.weight
        && (short.tokens.len() <= switch) == (long.tokens.len() <= switch)
        && long.tokens.starts_with(&short.tokens)
        && long.tokens.get(short.tokens.len()).copied() == end
        && long.targets.iter().zip(&short.targets).all(|(long, short)| long.is_none() || short.is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{all, bound};
    use crate::Sequence;
    use crate::examples::Example;

    /// `tokens` are read and predicted from `from` on.
    fn example(tokens: &[u32], from: usize) -> Example {
        let targets = (1..tokens.len()).map(|i| (i >= from).then_some(tokens[i])).collect();
        let sequence = Sequence { tokens: tokens[..tokens.len() - 1].to_vec(), targets, weight: 1.0, soft: BTreeMap::new() };
        Example { sequence, conversation: "c".to_owned(), position: 0, calls: 1, tokens: 1, answers: 1 }
    }

    #[test]
    fn equal_examples_count_the_root_of_their_number() {
        let merged = all(vec![example(&[1, 2, 3], 2); 9], 64, None);
        assert_eq!((merged.len(), merged[0].calls, merged[0].answers), (1, 9, 1));
        assert!((merged[0].sequence.weight - 3.0).abs() < 1e-6);
        let weight = |count, most| all(vec![example(&[1, 2, 3], 2); count], most, None)[0].sequence.weight;
        assert!((weight(10_000, 64) - 8.0).abs() < 1e-6 && (weight(10_000, 1) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn equal_examples_count_the_mean_of_their_weights() {
        let mut rated = vec![example(&[1, 2, 3], 2); 4];
        rated[0].sequence.weight = 0.2;
        assert!((all(rated, 64, None)[0].sequence.weight - 2.0 * 0.8).abs() < 1e-6);
    }

    #[test]
    fn where_nothing_merges_the_first_of_many_copies_stay() {
        let mut calls = [vec![example(&[1, 2, 3], 2); 5], vec![example(&[1, 2, 4], 2); 2]].concat();
        assert_eq!(bound(&mut calls, 3), 2);
        assert_eq!(calls.len(), 5);
    }

    #[test]
    fn turns_of_one_conversation_become_one_sequence() {
        let turns = vec![example(&[1, 2, 3, 4, 5, 6], 5), example(&[1, 2, 3], 2), example(&[1, 2, 9], 2), example(&[7, 8], 1)];
        for (switch, count) in [(1, 3), (2, 4), (4, 4), (5, 3)] {
            assert_eq!(all(turns.clone(), 64, Some(switch)).len(), count, "beyond {switch} tokens nothing is the same");
        }
        let merged = all(turns, 64, None);
        assert_eq!(merged.len(), 3, "the answer 9 branches off and stays alone");
        let long = merged.iter().find(|e| e.sequence.tokens.len() == 5).expect("the longest is kept");
        assert_eq!(long.sequence.targets, [None, Some(3), None, None, Some(6)]);
        assert_eq!((long.calls, long.answers), (2, 2));
        let loss: usize = merged.iter().flat_map(|e| &e.sequence.targets).flatten().count();
        assert_eq!(loss, 4, "no answer is lost");
    }
}
