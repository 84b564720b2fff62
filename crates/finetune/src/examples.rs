//! From clean calls of the train split to sequences whose answers carry the loss. Knows no tensor.
//!
//! Only a [`Part`] of [`Train`] is taken, so no held-out conversation can get here. What is left out is counted with
//! its reason.
use std::collections::BTreeMap;

use model::{Chat, Config, TokenBytes};
use rayon::prelude::*;
use record::{Call, Clean, Dropped, Fingerprint, Part, TooLong, Train, Withheld};

use crate::soft::{self, Softened};
use crate::spread::{hash, spread};
use crate::{Error, Finetune, PromptMode, Sequence, merge, shared};

/// A sequence and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Tokens, targets and weight.
    pub sequence: Sequence,
    /// The conversation.
    pub conversation: String,
    /// Position of its (last) call in the part it was made from.
    pub position: usize,
    /// Calls it stands for.
    pub calls: u64,
    /// Tokens of these calls, prompt and answer, each call counted by itself.
    pub tokens: u64,
    /// Different answers in it that carry loss.
    pub answers: usize,
}

/// What a run learns from and is checked on, both in an order whose every beginning is spread over conversations.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Learnt from.
    pub train: Vec<Example>,
    /// Only looked at.
    pub validation: Vec<Example>,
    /// Calls left out by reason, in the order of the reasons.
    pub left_out: Vec<(String, u64)>,
    /// What all of their prompts are shown without; none where prompts are whole.
    pub dropped: Option<Dropped>,
    /// How far the train split has soft targets. Validation looks at logged answers alone, so that losses can be compared.
    pub softened: Softened,
    /// The tail of those that were too long.
    pub too_long: Option<TooLong>,
    /// Calls learnt from though they nearly repeat a withheld prompt; 0 where such were left out.
    pub repeats: u64,
    /// Identity of the train and the validation examples.
    pub fingerprint: Fingerprint,
}

/// Why a call is left out.
mod reason {
    pub const OTHER_TEACHER: &str = "answered by a model that is no teacher";
    pub const NO_ANSWER: &str = "without an answer";
    pub const CUT_OFF: &str = "with an answer cut off";
    pub const HEAD: &str = "that do not begin with the constant prompt";
    pub const TEMPLATE: &str = "refused by the chat template";
    pub const PROMPT: &str = "with a prompt over max_prompt_tokens";
    pub const CONTEXT: &str = "longer than the model's context";
    pub const NEAR: &str = "with a prompt nearly the same as one held out or calibrated on";
    pub const FAILURE: &str = "of a conversation that failed, or rated worst";
    pub const COPIES: &str = "equal to max_duplicates others";
}

/// Why a call is no example, and how many tokens its prompt has if that is why.
type Unfit = (&'static str, Option<u64>);

/// Conversations from which on some are set apart for validation.
const MANY: usize = 10;

impl Finetune {
    /// Makes examples of the train split, without calls that nearly repeat what is withheld.
    ///
    /// # Errors
    /// When a setting is unusable or no example is left.
    pub fn examples(&self, part: &Part<Train>, withheld: &dyn Withheld, chat: &Chat, config: &Config) -> Result<Examples, Error> {
        self.check()?;
        let mut left_out = BTreeMap::<&'static str, u64>::new();
        let dropped = match self.prompt {
            PromptMode::Keep => None,
            PromptMode::DropShared => shared::dropped(part, chat),
        };
        // a tokenizer is large: it is copied where prompts change alone
        let trimming = dropped.as_ref().map(|dropped| chat.clone().without(Some(dropped.shared.clone())));
        let chat = trimming.as_ref().unwrap_or(chat);
        let bytes = soft::bytes(self.soft_weight, part, chat);
        let make = |(position, call)| self.example(position, call, (chat, bytes.as_ref()), config);
        let made: Vec<_> = part.par_iter().enumerate().map(make).collect();
        let (mut kept, mut lengths) = (Vec::new(), Vec::new());
        for example in made {
            match example {
                Ok(example) => kept.push(example),
                Err((reason, length)) => {
                    *left_out.entry(reason).or_default() += 1;
                    lengths.extend(length);
                }
            }
        }
        let too_long = TooLong::of(lengths, part.len() as u64);
        let (near, repeats) = if self.near_duplicates > 0.0 { without_near(&mut kept, part, withheld) } else { (0, 0) };
        if near > 0 {
            left_out.insert(reason::NEAR, near);
        }
        let failed = self.feedback.apply(&mut kept, part);
        if failed > 0 {
            left_out.insert(reason::FAILURE, failed);
        }
        // where equal calls become one, its weight has the bound
        let copies = if self.merges() { 0 } else { merge::bound(&mut kept, self.max_duplicates) };
        if copies > 0 {
            left_out.insert(reason::COPIES, copies);
        }
        let left_out = left_out.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
        if kept.is_empty() {
            return Err(Error::NoExamples { calls: part.len() as u64, left_out, too_long });
        }
        let (train, mut validation) = self.set_apart(kept);
        validation.iter_mut().for_each(|example| example.sequence.soft.clear());
        let softened = if bytes.is_some() { Softened::of(&train, part) } else { Softened::default() };
        let arrange = |examples| {
            let examples = if self.merges() { merge::all(examples, self.max_duplicates, config.rope_switch()) } else { examples };
            if self.shuffle { spread(examples, self.seed) } else { examples }
        };
        let (train, validation) = (arrange(train), arrange(validation));
        let fingerprint = fingerprint(&train, &validation);
        Ok(Examples { train, validation, left_out, too_long, repeats, dropped, softened, fingerprint })
    }

    /// One call as an example, or why not.
    fn example(
        &self,
        position: usize,
        call: &Clean<Call>,
        (chat, bytes): (&Chat, Option<&TokenBytes>),
        config: &Config,
    ) -> Result<Example, Unfit> {
        let taught = |teacher: &String| teacher == call.model() || teacher == call.request.model();
        if !self.teacher.is_empty() && !self.teacher.iter().any(taught) {
            return Err((reason::OTHER_TEACHER, None));
        }
        let message = call.response.message().ok_or((reason::NO_ANSWER, None))?;
        if message.text().is_empty() && message.tool_calls().is_empty() {
            return Err((reason::NO_ANSWER, None));
        }
        if matches!(call.response.finish_reason(), Some("length" | "content_filter")) {
            return Err((reason::CUT_OFF, None));
        }
        let example = chat.example(&call.request, message.0).map_err(|error| match error {
            model::Error::Head => (reason::HEAD, None),
            _ => (reason::TEMPLATE, None),
        })?;
        if example.prompt.is_empty() || example.completion.is_empty() {
            return Err((reason::TEMPLATE, None));
        }
        let length = Some(example.prompt.len() as u64);
        if example.prompt.len() > self.max_prompt_tokens {
            return Err((reason::PROMPT, length));
        }
        if example.prompt.len() + example.completion.len() > config.max_position_embeddings {
            return Err((reason::CONTEXT, length));
        }
        let mut sequence = sequence(&example.prompt, &example.completion);
        if let Some(bytes) = bytes {
            let soft = soft::targets(&call.response, &example.completion, bytes, self.soft_weight);
            sequence.soft = soft.into_iter().map(|(place, soft)| (example.prompt.len() - 1 + place, soft)).collect();
        }
        let tokens = sequence.tokens.len() as u64;
        Ok(Example { sequence, conversation: call.conversation_id.clone(), position, calls: 1, tokens, answers: 1 })
    }

    /// Sets whole conversations apart for validation: those whose ids hash lowest, so that a later run over a grown
    /// log sets mostly the same ones apart. None of a few.
    fn set_apart(&self, examples: Vec<Example>) -> (Vec<Example>, Vec<Example>) {
        let mut ids: Vec<&str> = examples.iter().map(|example| example.conversation.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < MANY || self.validation_share == 0.0 {
            return (examples, Vec::new());
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let count = (ids.len() as f64 * self.validation_share).ceil() as usize;
        ids.sort_by_key(|id| hash("validation", self.seed, id));
        let apart: std::collections::BTreeSet<String> = ids[..count].iter().map(|id| (*id).to_owned()).collect();
        examples.into_iter().partition(|example| !apart.contains(&example.conversation))
    }
}

/// Calls that examples stand for.
pub(crate) fn calls(examples: &[Example]) -> u64 {
    examples.iter().map(|example| example.calls).sum()
}

/// Every token of the completion is a target, given all before it; no token of the prompt is.
fn sequence(prompt: &[u32], completion: &[u32]) -> Sequence {
    let all = [prompt, completion].concat();
    let silent = std::iter::repeat_n(None, prompt.len() - 1);
    let targets = silent.chain(completion.iter().map(|token| Some(*token))).collect();
    Sequence { tokens: all[..all.len() - 1].to_vec(), targets, weight: 1.0, soft: BTreeMap::new() }
}

/// Drops examples whose prompts nearly repeat what is withheld, unless these are more than half: a task whose traffic repeats itself so
/// could not be learnt otherwise, and will go on repeating itself. Says how many were dropped, and how many kept nevertheless.
fn without_near(examples: &mut Vec<Example>, part: &Part<Train>, withheld: &dyn Withheld) -> (u64, u64) {
    let keep: Vec<bool> = examples.par_iter().map(|example| !withheld.near(part[example.position].prompt())).collect();
    let near = keep.iter().filter(|keep| !**keep).count();
    if near * 2 > examples.len() {
        return (0, near as u64);
    }
    (only(examples, keep), 0)
}

/// Drops the examples that are not marked. Says how many.
pub(crate) fn only(examples: &mut Vec<Example>, keep: Vec<bool>) -> u64 {
    let before = examples.len();
    let mut keep = keep.into_iter();
    examples.retain(|_| keep.next().expect("a mark for each example"));
    (before - examples.len()) as u64
}

fn fingerprint(train: &[Example], validation: &[Example]) -> Fingerprint {
    let mut bytes = Vec::new();
    for (part, examples) in [train, validation].into_iter().enumerate() {
        for Example { sequence, conversation, .. } in examples {
            bytes.push(u8::try_from(part).expect("there are two parts"));
            bytes.extend((conversation.len() as u64).to_le_bytes());
            bytes.extend(conversation.as_bytes());
            bytes.extend((sequence.tokens.len() as u64).to_le_bytes());
            bytes.extend(sequence.tokens.iter().flat_map(|token| token.to_le_bytes()));
            bytes.extend(sequence.targets.iter().flat_map(|target| target.map_or(u64::MAX, u64::from).to_le_bytes()));
            bytes.extend(sequence.weight.to_le_bytes());
            for (row, soft) in &sequence.soft {
                bytes.extend((*row as u64).to_le_bytes());
                bytes.extend(soft.tokens().iter().flat_map(|(token, p)| [token.to_le_bytes(), p.to_le_bytes()].concat()));
            }
        }
    }
    Fingerprint::of_bytes(&bytes)
}
