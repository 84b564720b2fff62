//! Work saved without changing what is learnt: equal examples become one, and an example that is the beginning of
//! another becomes part of it. Exact, since attention is causal: a token's loss depends on what stands before it alone, unless a long
//! rope turns it otherwise in a longer sequence.
use std::collections::BTreeMap;

use model::train::Soft;

use crate::examples::Example;
use crate::{Sequence, soft};

/// Most that one example counts, however often it occurs.
const CAP: f32 = 8.0;

/// Both savings. Sequences of more than `switch` tokens are computed otherwise than shorter ones, if there is such a number.
pub(crate) fn all(examples: Vec<Example>, switch: Option<usize>) -> Vec<Example> {
    turns(duplicates(examples), switch.unwrap_or(usize::MAX))
}

/// Equal sequences become one that counts the square root of their number (eight at most): what is frequent is
/// learnt better, but what is rare is not drowned.
fn duplicates(examples: Vec<Example>) -> Vec<Example> {
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
        let weight = (example.calls as f32).sqrt();
        example.sequence.weight = weight.min(CAP);
    }
    kept
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

    use super::all;
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
        let merged = all(vec![example(&[1, 2, 3], 2); 9], None);
        assert_eq!((merged.len(), merged[0].calls, merged[0].answers), (1, 9, 1));
        assert!((merged[0].sequence.weight - 3.0).abs() < 1e-6);
        let capped = all(vec![example(&[1, 2, 3], 2); 1_000], None);
        assert!((capped[0].sequence.weight - 8.0).abs() < 1e-6);
    }

    #[test]
    fn turns_of_one_conversation_become_one_sequence() {
        let turns = vec![example(&[1, 2, 3, 4, 5, 6], 5), example(&[1, 2, 3], 2), example(&[1, 2, 9], 2), example(&[7, 8], 1)];
        for (switch, count) in [(1, 3), (2, 4), (4, 4), (5, 3)] {
            assert_eq!(all(turns.clone(), Some(switch)).len(), count, "beyond {switch} tokens nothing is the same");
        }
        let merged = all(turns, None);
        assert_eq!(merged.len(), 3, "the answer 9 branches off and stays alone");
        let long = merged.iter().find(|e| e.sequence.tokens.len() == 5).expect("the longest is kept");
        assert_eq!(long.sequence.targets, [None, Some(3), None, None, Some(6)]);
        assert_eq!((long.calls, long.answers), (2, 2));
        let loss: usize = merged.iter().flat_map(|e| &e.sequence.targets).flatten().count();
        assert_eq!(loss, 4, "no answer is lost");
    }
}
