//! Choice of a label: the instruction lists the labels, the answer is the one that fits the message.
//!
//! Labels are the intents of a world under their own names or renamed to made-up words, told apart by
//! words, by a description or by examples; so the choice follows from the prompt, not from memory. Some documents ask for
//! several labels at once.
use serde_json::{Map, Value, json};

use super::super::dice::Dice;
use super::super::document::{Chat, Document, Style};
use super::super::values::{self, Kind};
use super::super::world::{Aspect, World};

/// A label as the prompt shows it.
struct Choice {
    label: String,
    hint: String,
    source: Source,
}

enum Source {
    Intent(String),
    Word(String),
    Aspect(Vec<String>),
}

/// Draws a labelling of one to five messages.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    if dice.chance(30) { manifold(dice, world) } else { single(dice, world) }
}

fn single(dice: &mut Dice, world: &World) -> Document {
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

/// One to three labels for each message: every sentence decides one of them and says nothing of the others.
fn manifold(dice: &mut Dice, world: &World) -> Document {
    let n = dice.between(1, 3);
    let mut asked: Vec<(String, Vec<Choice>)> =
        dice.sample(&world.aspects, n).iter().map(|aspect| (aspect.name.clone(), by_aspect(dice, world, aspect))).collect();
    if n < 3 {
        asked.push((dice.word(&["topic", "subject", "intent"]).to_owned(), by_intent(dice, world)));
    }
    dice.shuffle(&mut asked);
    let (style, hints) = (Style::draw(dice), dice.chance(40));
    let mut chat = Chat { system: questions(dice, world, &asked, hints), ..Chat::default() };
    for _ in 0..dice.between(1, 5) {
        let drawn: Vec<_> = asked.iter().map(|(name, choices)| (name, dice.pick(choices))).collect();
        let mut sentences: Vec<_> = drawn.iter().map(|(_, choice)| message(dice, world, choice)).collect();
        dice.shuffle(&mut sentences);
        let answer: Map<_, _> = drawn.into_iter().map(|(name, choice)| (name.clone(), Value::from(choice.label.as_str()))).collect();
        chat.exchange(sentences.join(" "), style.write(&Value::Object(answer)));
    }
    chat.document()
}

fn by_aspect(dice: &mut Dice, world: &World, aspect: &Aspect) -> Vec<Choice> {
    let choice = |(label, sentences): (&String, &Vec<String>)| {
        let hint = format!("as in \"{}\"", sentence(dice, world, sentences));
        Choice { label: label.clone(), hint, source: Source::Aspect(sentences.clone()) }
    };
    let mut choices: Vec<_> = aspect.labels.iter().map(choice).collect();
    dice.shuffle(&mut choices);
    choices
}

fn sentence(dice: &mut Dice, world: &World, sentences: &[String]) -> String {
    let sentence = dice.pick(sentences).clone();
    format!("{}{}", values::capital(&world.expand(dice, &sentence)), dice.word(&[".", ".", "!"]))
}

fn listed(choices: &[Choice]) -> String {
    choices.iter().map(|choice| format!("- {}: {}", choice.label, choice.hint)).collect::<Vec<_>>().join("\n")
}

fn questions(dice: &mut Dice, world: &World, asked: &[(String, Vec<Choice>)], hints: bool) -> String {
    let intro = if dice.chance(40) { format!("You are {}. ", world.agent) } else { String::new() };
    let body = dice.word(&["Read the message and answer as JSON", "Describe each message in JSON", "Tag what the user writes, JSON only"]);
    if hints {
        let line = |(name, choices): &(String, Vec<Choice>)| format!("{name}:\n{}", listed(choices));
        return format!("{intro}{body}.\n{}", asked.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    let (is, or) = (dice.word(&[" is ", ": ", " = "]), dice.word(&[", ", " | ", " / ", " or "]));
    let line = |(name, choices): &(String, Vec<Choice>)| {
        let labels: Vec<_> = choices.iter().map(|choice| choice.label.as_str()).collect();
        format!("{name}{is}{}", labels.join(or))
    };
    format!("{intro}{body}: {}.", asked.iter().map(line).collect::<Vec<_>>().join("; "))
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
    let text = well_written(dice, world, choice);
    if dice.chance(8) { values::typo(dice, &text) } else { text }
}

fn well_written(dice: &mut Dice, world: &World, choice: &Choice) -> String {
    match &choice.source {
        Source::Intent(intent) => world.message(dice, intent),
        Source::Aspect(sentences) => sentence(dice, world, sentences),
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
        format!(":\n{}\n", listed(choices))
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
