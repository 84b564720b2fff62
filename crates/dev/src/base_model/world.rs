//! The worlds of `worlds.toml` and the small grammar in which their sentences are written.
//!
//! Knows words and sentences, not documents.
use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::dice::Dice;
use super::values::{self, Kind};

/// What one part of the corpus speaks of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// What it is called.
    pub name: String,
    /// Who answers there.
    pub agent: String,
    nouns: String,
    adjectives: String,
    verbs: String,
    things: String,
    fields: Vec<String>,
    /// Labels of messages with the sentences that express them.
    pub intents: BTreeMap<String, Vec<String>>,
    /// What else can be told of a message.
    #[serde(skip)]
    pub aspects: Vec<Aspect>,
}

/// Something that can be told of any message beside its intent: labels with the sentences that express them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aspect {
    /// What it is called.
    pub name: String,
    /// Labels with sentences.
    pub labels: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct File {
    world: Vec<World>,
    aspect: Vec<Aspect>,
}

/// Reads the worlds that are part of this program; every one has the same aspects.
pub fn all() -> Result<Vec<World>> {
    let mut file: File = toml::from_str(include_str!("worlds.toml")).context("worlds.toml")?;
    file.world.iter_mut().for_each(|world| world.aspects.clone_from(&file.aspect));
    for world in &file.world {
        for field in &world.fields {
            split(field).with_context(|| format!("field `{field}` of {}", world.name))?;
        }
    }
    Ok(file.world)
}

fn split(field: &str) -> Option<(&str, Kind)> {
    let (name, kind) = field.split_once(':')?;
    Some((name, serde_json::from_value(kind.into()).ok()?))
}

impl World {
    fn one(dice: &mut Dice, words: &str) -> String {
        let all: Vec<_> = words.split(' ').collect();
        (*dice.pick(&all)).to_string()
    }

    /// A noun of the world.
    pub fn noun(&self, dice: &mut Dice) -> String {
        Self::one(dice, &self.nouns)
    }

    /// Several different nouns.
    pub fn nouns(&self, dice: &mut Dice, n: usize) -> Vec<String> {
        let all: Vec<String> = self.nouns.split(' ').map(String::from).collect();
        dice.sample(&all, n)
    }

    /// An adjective of the world.
    pub fn adjective(&self, dice: &mut Dice) -> String {
        Self::one(dice, &self.adjectives)
    }

    /// A verb of the world, in its plain form.
    pub fn verb(&self, dice: &mut Dice) -> String {
        Self::one(dice, &self.verbs)
    }

    /// A thing that records of the world describe.
    pub fn thing(&self, dice: &mut Dice) -> String {
        Self::one(dice, &self.things)
    }

    /// The fields its records have.
    pub fn fields(&self) -> Vec<(String, Kind)> {
        self.fields.iter().filter_map(|field| split(field)).map(|(name, kind)| (name.to_string(), kind)).collect()
    }

    /// A message of an intent: one sentence of it, dressed.
    pub fn message(&self, dice: &mut Dice, intent: &str) -> String {
        let sentence = self.intents.get(intent).map(|all| dice.pick(all).clone()).unwrap_or_default();
        let sentence = self.expand(dice, &sentence);
        let question = ["will ", "what ", "when ", "can ", "could ", "may ", "who ", "how ", "why ", "is ", "which ", "are ", "am ", "do "];
        let mark = if question.iter().any(|word| sentence.starts_with(word)) { "?" } else { dice.word(&[".", ".", ".", "!"]) };
        let opener = dice.word(&["", "", "", "Hello, ", "Hi, ", "Good morning, ", "Dear all, ", "Sorry, ", "Excuse me, ", "Please note: "]);
        let body = if opener.is_empty() && dice.chance(80) { values::capital(&sentence) } else { sentence };
        let closer = match dice.below(8) {
            0 => " Thanks.".to_string(),
            1 => format!(" Thank you, {}", values::text(dice, Kind::Name)),
            2 => format!(" {}", self.remark(dice)),
            3 => " Please help.".to_string(),
            _ => String::new(),
        };
        format!("{opener}{body}{mark}{closer}")
    }

    /// A plain sentence about the world that means nothing in particular.
    pub fn remark(&self, dice: &mut Dice) -> String {
        const REMARKS: [&str; 18] = [
            "The {noun} is [still|very|not|rather|always] {adj}.",
            "We [often|never|sometimes|always] {verb} the {noun} [in the morning|at night|after lunch|on Sunday].",
            "[Yesterday|Today|Last week|This year] the {noun} was {adj} and the {noun} was {adj}.",
            "I [think|hope|know|was told] that the {noun} [is|was|will be] {adj}.",
            "It is [for|from] my [brother|mother|friend|neighbour|colleague|boss|son].",
            "There is [a|one|no|another] {adj} {noun} [near|under|behind|next to] the {noun}.",
            "They want to {verb} the {noun} before they {verb} the {noun}.",
            "If the {noun} is {adj}, please {verb} it [first|again|soon|later].",
            "You can {verb} the {noun} or {verb} it [with|without] the {noun}.",
            "[She|He] said that [nobody|everybody|somebody] should {verb} the {adj} {noun}.",
            "[My|Our|Their|Your] {noun} and [my|our|his|her] {noun} are [both|now|not] {adj}.",
            "[Nothing|Something|Everything] here is {adj} because of the {noun}.",
            "[One|Two|Three|Four|Many|Few] of the {noun} parts were {adj}.",
            "How [long|often|much] do you {verb} the {noun}?",
            "[Sorry for the trouble|I am in a hurry|It is not urgent|I have tried everything|This is the second time I ask].",
            "[Let me know|Tell me|Write to me] [when|if|how|why] you {verb} it.",
            "The {noun} [with|without] the {adj} {noun} [belongs to|was made by|is used by] {name}.",
            "We [met|saw|called] {name} [in|near|from] {place} [about|because of] the {noun}.",
        ];
        let remark = dice.word(&REMARKS);
        self.expand(dice, remark)
    }

    /// Writes out a sentence of the grammar: `[a|b]` is a choice, `{slot}` a word or a value.
    pub fn expand(&self, dice: &mut Dice, sentence: &str) -> String {
        let mut out = String::new();
        let mut rest = sentence;
        while let Some(at) = rest.find(['[', '{']) {
            out += &rest[..at];
            let close = if rest[at..].starts_with('[') { ']' } else { '}' };
            let Some(end) = rest[at..].find(close).map(|end| at + end) else { break };
            let inner = &rest[at + 1..end];
            if close == ']' {
                let choices: Vec<_> = inner.split('|').collect();
                let choice = *dice.pick(&choices);
                out += &self.expand(dice, choice);
            } else {
                out += &self.slot(dice, inner);
            }
            rest = &rest[end + 1..];
        }
        out + rest
    }

    fn slot(&self, dice: &mut Dice, name: &str) -> String {
        match name {
            "noun" => self.noun(dice),
            "adj" => self.adjective(dice),
            "verb" => self.verb(dice),
            "thing" => self.thing(dice),
            other => {
                let kind = serde_json::from_value(other.into()).unwrap_or(Kind::Word);
                values::text(dice, kind)
            }
        }
    }
}
