//! Which sequences a step sees, and how they go through the model. Pure functions of seed and step.
//!
//! What the sequences of a step have in common from their beginning on is computed once, and the calls of a conversation have
//! most in common. But a step that sees one conversation follows the whims of that conversation. So a step takes the calls of
//! a conversation together, in groups of no more than a quarter of it.
use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::examples::Example;
use crate::{Finetune, Sequence};

/// Batches of a run over examples, epoch after epoch. A batch never crosses an epoch, and those of one epoch hold
/// about equally many answers.
pub(crate) struct Batches<'a> {
    examples: Vec<&'a Example>,
    /// Places of examples that stay together.
    groups: Vec<Vec<usize>>,
    batch_size: usize,
    seed: Option<u64>,
    /// The epoch at hand: its number, its first step, its batches as places in `examples`.
    epoch: (u64, u64, Vec<Vec<usize>>),
}

impl<'a> Batches<'a> {
    /// Batches as the settings ask for them.
    pub(crate) fn new(mut examples: Vec<&'a Example>, settings: &Finetune) -> Self {
        if !settings.shuffle {
            examples.sort_by_key(|example| example.position);
        }
        let together = if settings.merges() { (settings.batch_size / CONVERSATIONS).max(1) } else { 1 };
        let groups = groups(&examples, together);
        let seed = settings.shuffle.then_some(settings.seed);
        let mut batches = Self { examples, groups, batch_size: settings.batch_size, seed, epoch: (0, 1, Vec::new()) };
        batches.epoch.2 = batches.cut(0);
        batches
    }

    /// Batches of one epoch.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn per_epoch(&self) -> f64 {
        self.cut(0).len() as f64
    }

    /// Steps of so many epochs, the last perhaps in part.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below 2^53")]
    pub(crate) fn steps(&self, epochs: f64) -> u64 {
        let whole = epochs.floor();
        let steps: usize = (0..whole as u64).map(|epoch| self.cut(epoch).len()).sum();
        steps as u64 + ((epochs - whole) * self.cut(whole as u64).len() as f64).ceil() as u64
    }

    /// The sequences of a step, from 1.
    pub(crate) fn step(&mut self, step: u64) -> Vec<Sequence> {
        self.examples(step).into_iter().map(|example| example.sequence.clone()).collect()
    }

    /// The examples of a step, from 1.
    pub(crate) fn examples(&mut self, step: u64) -> Vec<&'a Example> {
        if step < self.epoch.1 {
            self.epoch = (0, 1, self.cut(0));
        }
        while step >= self.epoch.1 + self.epoch.2.len() as u64 {
            let (number, first) = (self.epoch.0 + 1, self.epoch.1 + self.epoch.2.len() as u64);
            self.epoch = (number, first, self.cut(number));
        }
        let place = usize::try_from(step - self.epoch.1).expect("a place within an epoch in memory");
        self.epoch.2[place].iter().map(|example| self.examples[*example]).collect()
    }

    /// Places of an epoch's examples in its order, cut into batches.
    fn cut(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut groups: Vec<&Vec<usize>> = self.groups.iter().collect();
        if let Some(seed) = self.seed {
            let mut source = ChaCha8Rng::seed_from_u64(seed);
            source.set_stream(epoch);
            groups.shuffle(&mut source);
        }
        let total: usize = self.examples.iter().map(|example| example.answers).sum();
        // in the order of the log batches are exactly as large as asked for, with a rest at the end
        let count = if self.seed.is_some() { (total + self.batch_size / 2) / self.batch_size } else { total.div_ceil(self.batch_size) };
        let share = if self.seed.is_some() { total.div_ceil(count.max(1)) } else { self.batch_size };
        let mut batches = Vec::new();
        let mut batch = Vec::new();
        let mut answers = 0;
        for &place in groups.into_iter().flatten() {
            batch.push(place);
            answers += self.examples[place].answers;
            if answers >= share {
                batches.push(std::mem::take(&mut batch));
                answers = 0;
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches
    }
}

/// Most of a batch that one conversation takes: one in so many answers, or one example.
const CONVERSATIONS: usize = 4;

/// Places of examples by conversation, in groups of at most `most` answers.
fn groups(examples: &[&Example], most: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut open = BTreeMap::<&str, (usize, usize)>::new();
    for (place, example) in examples.iter().enumerate() {
        match open.get_mut(example.conversation.as_str()) {
            Some((group, answers)) if *answers + example.answers <= most => {
                groups[*group].push(place);
                *answers += example.answers;
            }
            _ => {
                open.insert(&example.conversation, (groups.len(), example.answers));
                groups.push(vec![place]);
            }
        }
    }
    groups
}

/// Cuts a step's sequences into micro-batches of at most `micro_tokens` tokens (one sequence at least), of which a beginning
/// that neighbours have in common counts once.
///
/// The loss is summed over all of them, so the cut changes no result but rounding. Where nothing is shared, more rows go through;
/// a model cuts them into packs then.
pub(crate) fn micro_batches(mut sequences: Vec<Sequence>, micro_tokens: usize) -> Vec<Vec<Sequence>> {
    sequences.sort_by(|one, other| one.tokens.cmp(&other.tokens));
    let new = |pair: &[Sequence]| pair[1].tokens.len() - pair[0].common(&pair[1]);
    let mut lengths: Vec<usize> = sequences.first().map(|first| first.tokens.len()).into_iter().collect();
    lengths.extend(sequences.windows(2).map(new));
    let total: usize = lengths.iter().sum();
    let parts = total.div_ceil(micro_tokens.max(1)).max(1);
    // even parts rather than full ones and a rest
    let share = total.div_ceil(parts);
    let mut batches: Vec<Vec<Sequence>> = Vec::new();
    // `filled` counts a beginning once in the whole step, `held` once in the micro-batch
    let (mut filled, mut held) = (usize::MAX, 0);
    for (sequence, new) in sequences.into_iter().zip(lengths) {
        if filled >= share || held + new > micro_tokens {
            batches.push(Vec::new());
            (filled, held) = (0, sequence.tokens.len() - new);
        }
        filled += new;
        held += new;
        batches.last_mut().expect("one was just pushed if there was none").push(sequence);
    }
    batches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Batches, micro_batches};
    use crate::examples::Example;
    use crate::{Batching, Finetune, Sequence};

    fn sequence(tokens: &[u32]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), targets: vec![Some(1); tokens.len()], weight: 1.0, soft: BTreeMap::new() }
    }

    /// Nine calls of each of twenty conversations, that end in the number of the call.
    fn examples() -> Vec<Example> {
        let example = |position: usize| {
            let (conversation, call) = (position % 20, position / 20);
            let sequence = sequence(&[7, conversation as u32, call as u32, position as u32]);
            Example { sequence, conversation: format!("c{conversation}"), position, calls: 1, tokens: 4, answers: 1 }
        };
        (0..180).map(example).collect()
    }

    /// How many calls of the same conversation the steps of an epoch hold on average and at most.
    fn together(batching: Batching) -> (f64, usize) {
        let (settings, examples) = (Finetune { batching, batch_size: 16, ..Finetune::default() }, examples());
        let mut batches = Batches::new(examples.iter().collect(), &settings);
        let (mut seen, mut counts) = (Vec::new(), Vec::new());
        for step in 1..=batches.steps(1.0) {
            let mut of = BTreeMap::<u32, usize>::new();
            for sequence in batches.step(step) {
                *of.entry(sequence.tokens[1]).or_default() += 1;
                seen.push(sequence.tokens[3]);
            }
            counts.extend(of.into_values());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..180).collect::<Vec<_>>(), "an epoch sees every call once");
        (counts.iter().sum::<usize>() as f64 / counts.len() as f64, counts.into_iter().max().expect("a step"))
    }

    #[test]
    fn calls_of_a_conversation_come_together_but_fill_no_batch() {
        let (mean, most) = together(Batching::Tree);
        assert!(mean > 2.0, "{mean}");
        // a group of four whole, and perhaps another of the same conversation
        assert!(most <= 9, "{most}");
        let (mean, _) = together(Batching::Independent);
        assert!(mean < 1.6, "{mean}");
    }

    #[test]
    fn a_common_beginning_counts_once_against_the_tokens_of_a_micro_batch() {
        let calls = |shared: usize| -> Vec<Sequence> { (0..8).map(|i| sequence(&[vec![7; shared], vec![i; 10]].concat())).collect() };
        let sizes = |shared, most| micro_batches(calls(shared), most).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(20, 100), [8]);
        assert_eq!(sizes(21, 100), [3, 5]);
        assert_eq!(sizes(200, 100), [1; 8], "one sequence goes through at least");
    }
}
