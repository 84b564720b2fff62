//! The corpus: an endless stream of documents, each a pure function of seed, stream and place.
//!
//! Nothing is stored; a step of training asks for its own documents and always gets the same ones.
use anyhow::Result;
use finetune::Sequence;
use tokenizers::Tokenizer;

use super::dice::Dice;
use super::document::Document;
use super::family::FAMILIES;
use super::world::{self, World};

/// Longest document in tokens; longer ones are left out.
pub const LONGEST: usize = 1400;
/// Of a hundred documents, how many have a long preface, so that positions far from the start are learned.
const LONG: u32 = 6;
/// Of a hundred documents, how many are learned whole and not only where they can be foreseen.
const WHOLE: u32 = 40;

/// The generator.
pub struct Corpus {
    worlds: Vec<World>,
    seed: u64,
}

/// A document with its family and tokens.
pub struct Sample {
    /// Name of its family.
    pub family: &'static str,
    /// The document.
    pub document: Document,
}

impl Corpus {
    /// The corpus of a seed.
    pub fn new(seed: u64) -> Result<Self> {
        Ok(Self { worlds: world::all()?, seed })
    }

    /// Draws a document. `mix` goes from 0, where drills lead, to 1, where every family has its full share.
    pub fn draw(&self, dice: &mut Dice, mix: f64) -> Sample {
        let weights = FAMILIES.map(|family| {
            let [first, last] = family.weight.map(f64::from);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two small weights")]
            let weight = ((first + (last - first) * mix) * 100.0).round() as u32;
            weight
        });
        let family = &FAMILIES[dice.weighted(&weights)];
        let world = dice.pick(&self.worlds);
        let mut document = (family.draw)(dice, world);
        if dice.chance(LONG) {
            let remarks: Vec<_> = (0..dice.between(10, 60)).map(|_| world.remark(dice)).collect();
            document.preface(&remarks.join(if dice.chance(50) { "\n" } else { " " }));
        }
        Sample { family: family.name, document }
    }

    /// The `n` documents of a stream.
    pub fn stream(&self, stream: u64, n: usize, mix: f64) -> Vec<Sample> {
        let mut dice = Dice::new(self.seed, stream);
        (0..n).map(|_| self.draw(&mut dice, mix)).collect()
    }

    /// The sequences of a training step: whole documents, `tokens` tokens or a little less.
    pub fn batch(&self, tokenizer: &Tokenizer, step: u64, tokens: usize, mix: f64) -> Result<Vec<Sequence>> {
        let mut dice = Dice::new(self.seed, step);
        let mut sequences = Vec::new();
        let mut filled = 0;
        loop {
            let sample = self.draw(&mut dice, mix);
            let whole = dice.chance(WHOLE);
            let sequence = sequence(tokenizer, &sample.document, whole)?;
            if sequence.tokens.len() > LONGEST {
                continue;
            }
            filled += sequence.tokens.len();
            if filled > tokens {
                return Ok(sequences);
            }
            sequences.push(sequence);
        }
    }
}

/// Tokens and targets of a document; `whole` makes every token a target, else only those of answers are.
pub fn sequence(tokenizer: &Tokenizer, document: &Document, whole: bool) -> Result<Sequence> {
    let (tokens, answer) = encode(tokenizer, document)?;
    let target = |at: usize| (at < tokens.len() && (whole || answer[at])).then(|| tokens[at]);
    let targets = (1..=tokens.len()).map(target).collect();
    Ok(Sequence { targets, tokens, weight: 1.0, soft: std::collections::BTreeMap::new() })
}

/// Token ids of a document, and which of them are answers.
pub fn encode(tokenizer: &Tokenizer, document: &Document) -> Result<(Vec<u32>, Vec<bool>)> {
    let (mut tokens, mut answer) = (Vec::new(), Vec::new());
    for piece in &document.0 {
        let encoding = tokenizer.encode_fast(piece.text.as_str(), false).map_err(anyhow::Error::msg)?;
        tokens.extend_from_slice(encoding.get_ids());
        answer.resize(tokens.len(), piece.answer);
    }
    Ok((tokens, answer))
}
