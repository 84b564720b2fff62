//! Choice of a label: the instruction lists the labels, the answer is the one that fits the message.
//!
//! Labels are the intents of a world under their own names or renamed to made-up words, told apart by
//! words, by a description or by examples; so the choice follows from the prompt, not from memory.
use serde_json::json;

use super::super::dice::Dice;
use super::super::document::{Chat, Document, Style};
use super::super::values::{self, Kind};
use super::super::world::World;

/// A label as the prompt shows it.
struct Choice {
    label: String,
    hint: String,
    source: Source,
}

enum Source {
    Intent(String),
    Word(String),
}

/// Draws a labelling of one to five messages.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    let choices = if dice.chance(65) { by_intent(dice, world) } else { by_word(dice, world) };
    let format = dice.weighted(&[6, 2, 1]);
    let key = dice.word(&["label", "class", "topic", "kind", "group"]);
    let style = Style::draw(dice);
    let hints = choices.iter().all(|choice| matches!(choice.source, Source::Word(_))) || dice.chance(40);
    let mut chat = Chat { system: instruction(dice, world, &choices, hints, (format == 1).then_some(key)), ..Chat::default() };
    for _ in 0..dice.between(1, 5) {
        let choice = dice.pick(&choices);
        let message = message(dice, world, choice);
        let answer = match format {
            0 => choice.label.clone(),
            1 => style.write(&json!({key: choice.label})),
            _ => format!("{}: {}", values::capital(key), choice.label),
        };
        chat.exchange(message, answer);
    }
    chat.document()
}

fn by_intent(dice: &mut Dice, world: &World) -> Vec<Choice> {
    let intents: Vec<_> = world.intents.keys().cloned().collect();
    let n = dice.between(2, intents.len());
    let renamed = dice.chance(20);
    let upper = dice.chance(10);
    let spaced = dice.chance(25);
    let intents = dice.sample(&intents, n);
    let choices = intents.into_iter().map(|intent| {
        let plain = if spaced { intent.replace('_', " ") } else { intent.clone() };
        let label = if renamed { values::text(dice, Kind::Word) } else { plain };
        let label = if upper { label.to_uppercase() } else { label };
        let hint = if renamed {
            format!("{}, for example \"{}\"", intent.replace('_', " "), world.message(dice, &intent))
        } else {
            format!("messages such as \"{}\"", world.message(dice, &intent))
        };
        Choice { label, hint, source: Source::Intent(intent) }
    });
    choices.collect()
}

fn by_word(dice: &mut Dice, world: &World) -> Vec<Choice> {
    let n = dice.between(2, 5);
    let style = dice.below(3);
    let choices = world.nouns(dice, n).into_iter().map(|noun| {
        let label = match style {
            0 => values::text(dice, Kind::Word),
            1 => noun.clone(),
            _ => format!("{}_{}", noun, dice.word(&["matter", "team", "desk", "case", "question"])),
        };
        Choice { label, hint: format!("about the {noun}"), source: Source::Word(noun) }
    });
    choices.collect()
}

fn message(dice: &mut Dice, world: &World, choice: &Choice) -> String {
    match &choice.source {
        Source::Intent(intent) => world.message(dice, intent),
        Source::Word(noun) => {
            let (adjective, verb) = (world.adjective(dice), world.verb(dice));
            let when = dice.word(&["today", "again", "since Monday", "now", "on Sunday", "at last"]);
            let name = values::text(dice, Kind::Name);
            match dice.below(6) {
                0 => format!("The {noun} is {adjective} {when}."),
                1 => format!("Who can {verb} the {noun} {when}?"),
                2 => format!("{name} says that the {noun} is {adjective}."),
                3 => format!("Hello, I have a question about a {adjective} {noun}. {name}"),
                4 => format!("Please {verb} my {noun} {when}."),
                _ => format!("We want to {verb} it {when}, I mean the {adjective} {noun}."),
            }
        }
    }
}

fn instruction(dice: &mut Dice, world: &World, choices: &[Choice], hints: bool, key: Option<&str>) -> String {
    let intro = match dice.below(5) {
        0 => format!("You are {}. ", world.agent),
        1 => format!("You sort the mail of {}. ", world.agent),
        _ => String::new(),
    };
    let list = if hints {
        let lines: Vec<_> = choices.iter().map(|choice| format!("- {}: {}", choice.label, choice.hint)).collect();
        format!(":\n{}\n", lines.join("\n"))
    } else {
        let labels: Vec<_> = choices.iter().map(|choice| choice.label.as_str()).collect();
        format!("{} {}. ", dice.word(&[":", " from", ", one of"]), labels.join(dice.word(&[", ", " | ", "; ", " / "])))
    };
    let body = dice.word(&[
        "Choose the label of each message",
        "Sort the message into one class",
        "Classify what the user writes",
        "Decide which group the text belongs to",
        "Say what the message is about",
        "Name the topic of the message",
    ]);
    let end = match key {
        Some(key) => format!("Answer as JSON with the key \"{key}\"."),
        None => dice
            .word(&["Answer with the label only.", "Reply with one label.", "Write nothing else.", "Only the name, please.", ""])
            .to_string(),
    };
    format!("{intro}{body}{list}{end}").trim_end().to_string()
}
