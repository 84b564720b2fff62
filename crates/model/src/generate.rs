//! Greedy answers to a batch of prompts: shared prefixes read once, sequences decoded together. Knows token ids, no text.
//!
//! The batch is cut into shards, each computed by one thread. An answer does not depend on what is beside it, so the result has the
//! same bits at any number of threads.
use rayon::prelude::*;
use record::{Progress, Silent};

use crate::cache::{Cache, Path};
use crate::decoder::{Phase, Row, Scratch};
use crate::train::float::{Float, greatest};
use crate::train::kernels::Rotations;
use crate::train::vector::{Kernel, dispatch};
use crate::{Decoder, Error};

/// Rows that go through the layers at once while prompts are read: enough for the products to be efficient, few enough for the cache.
const ROWS: usize = 192;
/// Shards that a batch is cut into for each thread, if that makes no shard too large: one may take longer than another.
const SHARDS: usize = 2;
/// Bytes of keys and values that shards may take which are computed at once.
const CACHE_BYTES: usize = 4 << 30;
/// What one of them may take at least, since smaller ones share no beginnings, and at most.
const SHARD_BYTES: (usize, usize) = (256 << 20, 1 << 30);

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Tokens that an answer may have, its end not counted.
    pub max_new_tokens: usize,
    /// Most prompts that are decoded together by one thread.
    pub batch: usize,
    /// Tokens that end an answer.
    pub ends: &'a [u32],
}

/// A generated answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Tokens without the one that ended the answer.
    pub tokens: Vec<u32>,
    /// Whether the model ended the answer itself; else it was cut at a limit.
    pub ended: bool,
    /// Geometric mean of the probabilities of the chosen tokens, the ending one included; 0 where none was chosen.
    pub confidence: f64,
}

impl Decoder {
    /// Continues each prompt greedily (of equal logits the lowest token), in the order of the prompts. Answers end where the model's
    /// context does. Identical prompts are answered once.
    ///
    /// # Errors
    /// When a prompt is empty or holds a token outside the vocabulary.
    pub fn generate(&self, prompts: &[Vec<u32>], limits: Limits<'_>, progress: &dyn Progress) -> Result<Vec<Generation>, Error> {
        for prompt in prompts {
            self.check(prompt)?;
            if prompt.is_empty() {
                return Err(Error::Tokenizer("a prompt without a token cannot be continued".to_owned()));
            }
        }
        let context = self.config().max_position_embeddings;
        Ok(match self.config().rope_switch() {
            None => self.continue_alike(prompts, limits, context, progress),
            Some(switch) => self.continue_over(switch, prompts, limits, progress),
        })
    }

    /// [`Decoder::generate`] where sequences of more than `switch` tokens are turned otherwise: a prompt that is short is continued
    /// to one token more, and then read again as a long one, which is what transformers does with such a model.
    fn continue_over(&self, switch: usize, prompts: &[Vec<u32>], limits: Limits<'_>, progress: &dyn Progress) -> Vec<Generation> {
        let context = self.config().max_position_embeddings;
        let (short, long): (Vec<usize>, Vec<usize>) = (0..prompts.len()).partition(|&i| prompts[i].len() <= switch);
        let mut answers = vec![None; prompts.len()];
        for (places, context) in [(&short, context.min(switch + 1)), (&long, context)] {
            let group: Vec<_> = places.iter().map(|&i| prompts[i].clone()).collect();
            let found = self.continue_alike(&group, limits, context, progress);
            places.iter().zip(found).for_each(|(&i, answer)| answers[i] = Some(answer));
        }
        let finish = |(prompt, answer): (&Vec<u32>, Option<Generation>)| {
            let mut answer = answer.expect("every prompt is in one of the groups");
            let read = [prompt.as_slice(), &answer.tokens].concat();
            if prompt.len() <= switch && read.len() == switch + 1 && !answer.ended && answer.tokens.len() < limits.max_new_tokens {
                let limits = Limits { max_new_tokens: limits.max_new_tokens - answer.tokens.len(), ..limits };
                answer.append(self.continue_alike(&[read], limits, context, &Silent).pop().expect("one answer to one prompt"));
            }
            answer
        };
        prompts.par_iter().zip(answers).map(finish).collect()
    }

    /// Continues prompts that are all turned alike, to `context` tokens at most.
    fn continue_alike(&self, prompts: &[Vec<u32>], limits: Limits<'_>, context: usize, progress: &dyn Progress) -> Vec<Generation> {
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by(|&a, &b| prompts[a].cmp(&prompts[b]));
        let mut unique: Vec<(&[u32], u64)> = Vec::new();
        let mut place = vec![0; prompts.len()];
        for i in order {
            match unique.last_mut() {
                Some((last, count)) if *last == prompts[i].as_slice() => *count += 1,
                _ => unique.push((&prompts[i], 1)),
            }
            place[i] = unique.len() - 1;
        }
        let longest = unique.iter().map(|(prompt, _)| prompt.len()).max().unwrap_or_default();
        let turns = self.rotations(longest + limits.max_new_tokens, longest);
        let shards = self.shards(&unique, limits);
        let answers = shards.par_iter().map(|shard| {
            let answers = Shard { decoder: self, turns: &turns, limits, context }.run(shard);
            progress.advance(shard.iter().map(|(_, count)| count).sum());
            answers
        });
        let answers: Vec<_> = answers.collect::<Vec<_>>().concat();
        place.into_iter().map(|i| answers[i].clone()).collect()
    }

    /// Cuts sorted prompts into shards of neighbours: as many for each thread, where memory allows that.
    fn shards<'a, 'b>(&self, prompts: &'b [(&'a [u32], u64)], limits: Limits<'_>) -> Vec<&'b [(&'a [u32], u64)]> {
        let threads = rayon::current_num_threads();
        let most = prompts.len().div_ceil(SHARDS * threads).clamp(1, limits.batch.max(1));
        let count = self.cut(prompts, limits.max_new_tokens, most).len().next_multiple_of(threads);
        let parts = (0..count).map(|i| &prompts[i * prompts.len() / count..(i + 1) * prompts.len() / count]);
        parts.flat_map(|part| self.cut(part, limits.max_new_tokens, most)).collect()
    }

    /// Cuts sorted prompts into runs of `most` neighbours, or fewer where they would take too much memory.
    fn cut<'a, 'b>(&self, prompts: &'b [(&'a [u32], u64)], new: usize, most: usize) -> Vec<&'b [(&'a [u32], u64)]> {
        let bytes = CACHE_BYTES / rayon::current_num_threads();
        let slots = bytes.clamp(SHARD_BYTES.0, SHARD_BYTES.1) / Cache::bytes_per_slot(self.config()).max(1);
        let mut shards = Vec::new();
        let (mut start, mut used) = (0, 0);
        for (i, (prompt, _)) in prompts.iter().enumerate() {
            let shared = if i == start { 0 } else { common(prompts[i - 1].0, prompt) };
            let needed = prompt.len() - shared + new;
            if i > start && (i - start == most || used + needed > slots) {
                shards.push(&prompts[start..i]);
                (start, used) = (i, 0);
            }
            used += if i == start { prompt.len() + new } else { needed };
        }
        if start < prompts.len() {
            shards.push(&prompts[start..]);
        }
        shards
    }
}

/// Length of the common prefix.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The work of one thread.
struct Shard<'a> {
    decoder: &'a Decoder,
    turns: &'a [Rotations<f32>],
    limits: Limits<'a>,
    /// Tokens that a sequence may have.
    context: usize,
}

/// A sequence while it is decoded.
struct Sequence {
    path: Path,
    prompt: usize,
    limit: usize,
    next: u32,
    tokens: Vec<u32>,
    chosen: usize,
    log_probability: f64,
    done: bool,
    ended: bool,
}

impl Shard<'_> {
    /// Answers to distinct prompts in lexicographic order.
    fn run(&self, prompts: &[(&[u32], u64)]) -> Vec<Generation> {
        let (mut sequences, slots) = self.lay_out(prompts);
        let mut cache = Cache::new(self.decoder.config(), slots);
        let mut scratch = Scratch::default();
        let logits = self.prefill(prompts, &sequences, &mut cache, &mut scratch);
        let mut active: Vec<_> = (0..sequences.len()).collect();
        self.choose(&logits, &active, &mut sequences);
        let mut last = Vec::new();
        loop {
            active.retain(|&i| !sequences[i].done);
            if active.is_empty() {
                break;
            }
            let rows = active.iter().map(|&i| &sequences[i]).map(|s| Row {
                token: s.next,
                position: s.prompt + s.tokens.len() - 1,
                path: &s.path,
                wanted: true,
            });
            last.clear();
            self.decoder.read(Phase::Decode, &rows.collect::<Vec<_>>(), self.turns, &mut cache, &mut scratch, &mut last);
            let logits = self.decoder.head(&last);
            self.choose(&logits, &active, &mut sequences);
        }
        sequences.into_iter().map(Generation::from).collect()
    }

    /// Gives each sequence its slots: those of the prefix it shares with its neighbour, its own, and some for its answer.
    fn lay_out(&self, prompts: &[(&[u32], u64)]) -> (Vec<Sequence>, usize) {
        let mut sequences: Vec<Sequence> = Vec::with_capacity(prompts.len());
        let mut slots = 0;
        for (i, (prompt, _)) in prompts.iter().enumerate() {
            let shared = if i == 0 { 0 } else { common(prompts[i - 1].0, prompt) };
            let mut path = sequences.last().map(|before| before.path.prefix(shared)).unwrap_or_default();
            path.push(slots..slots + prompt.len() - shared);
            slots += prompt.len() - shared;
            let limit = self.limits.max_new_tokens.min(self.context.saturating_sub(prompt.len()));
            let (tokens, done) = (Vec::new(), limit == 0);
            sequences.push(Sequence {
                path,
                prompt: prompt.len(),
                limit,
                next: 0,
                tokens,
                chosen: 0,
                log_probability: 0.0,
                done,
                ended: false,
            });
        }
        for sequence in &mut sequences {
            sequence.path.push(slots..slots + sequence.limit);
            slots += sequence.limit;
        }
        (sequences, slots)
    }

    /// Reads all prompts, in passes of a fixed number of rows; the logits after each.
    fn prefill(&self, prompts: &[(&[u32], u64)], sequences: &[Sequence], cache: &mut Cache, scratch: &mut Scratch) -> Vec<f32> {
        let mut rows = Vec::new();
        for (i, ((prompt, _), sequence)) in prompts.iter().zip(sequences).enumerate() {
            let shared = if i == 0 { 0 } else { common(prompts[i - 1].0, prompt) };
            rows.extend((shared..prompt.len()).map(|position| Row {
                token: prompt[position],
                position,
                path: &sequence.path,
                wanted: position + 1 == prompt.len(),
            }));
        }
        let mut last = Vec::new();
        for rows in rows.chunks(ROWS) {
            self.decoder.read(Phase::Prefill, rows, self.turns, cache, scratch, &mut last);
        }
        self.decoder.head(&last)
    }

    /// Appends the best token to each active sequence, or ends it.
    fn choose(&self, logits: &[f32], active: &[usize], sequences: &mut [Sequence]) {
        let vocabulary = self.decoder.config().vocab_size;
        for (&i, logits) in active.iter().zip(logits.chunks_exact(vocabulary)) {
            let sequence = &mut sequences[i];
            if sequence.done {
                continue;
            }
            let (token, log_probability) = best(logits);
            sequence.chosen += 1;
            sequence.log_probability += log_probability;
            if self.limits.ends.contains(&token) {
                (sequence.done, sequence.ended) = (true, true);
            } else {
                sequence.next = token;
                sequence.tokens.push(token);
                sequence.done = sequence.tokens.len() >= sequence.limit;
            }
        }
    }
}

impl Generation {
    /// Adds the rest of an answer that was generated in two parts, the first of them not ended.
    #[expect(clippy::cast_precision_loss, reason = "answers are far shorter than 2^53 tokens")]
    fn append(&mut self, rest: Self) {
        let logs = [&*self, &rest].map(|part| {
            let chosen = (part.tokens.len() + usize::from(part.ended)) as f64;
            (chosen, if chosen > 0.0 { part.confidence.ln() * chosen } else { 0.0 })
        });
        let chosen = logs[0].0 + logs[1].0;
        self.confidence = if chosen > 0.0 { ((logs[0].1 + logs[1].1) / chosen).exp() } else { 0.0 };
        self.tokens.extend(rest.tokens);
        self.ended = rest.ended;
    }
}

impl From<Sequence> for Generation {
    #[expect(clippy::cast_precision_loss, reason = "answers are far shorter than 2^53 tokens")]
    fn from(sequence: Sequence) -> Self {
        let mean = sequence.log_probability / sequence.chosen as f64;
        let confidence = if sequence.chosen == 0 { 0.0 } else { mean.exp() };
        Self { tokens: sequence.tokens, ended: sequence.ended, confidence }
    }
}

/// The token of the greatest logit (the first of equals) and the logarithm of its probability.
fn best(logits: &[f32]) -> (u32, f64) {
    struct Sum;
    impl Kernel<&[f32]> for Sum {
        type Output = (f32, f64);
        #[inline(always)]
        fn run(logits: &[f32]) -> (f32, f64) {
            let most = greatest(logits);
            // blocks are summed in f32 and the blocks in f64: a vocabulary is long
            let sums = logits.chunks(512).map(|block| {
                let mut lanes = [0.0_f32; 16];
                for block in block.chunks(16) {
                    for (lane, logit) in lanes.iter_mut().zip(block) {
                        *lane += Float::exp(logit - most);
                    }
                }
                lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>()
            });
            (most, sums.sum())
        }
    }
    let (most, sum) = dispatch::<_, Sum>(logits);
    let token = logits.iter().position(|logit| *logit == most).unwrap_or_default();
    (u32::try_from(token).unwrap_or_default(), -sum.ln())
}
