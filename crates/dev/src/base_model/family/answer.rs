//! Short written answers: a form to fill with the values of a message, given as a template or by examples.
use serde_json::Value;

use super::super::dice::Dice;
use super::super::document::{Chat, Document, Style};
use super::super::record::{Record, list};
use super::super::values::{self, Kind};
use super::super::world::World;

/// Draws a form and one to four fillings of it.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    let n = dice.between(1, 4);
    let first = Record::draw(dice, world, n);
    let form = form(dice, world, &first);
    let shown = dice.chance(60);
    let json = dice.chance(25);
    let system = if shown { shown_instruction(dice, world, &form) } else { hidden_instruction(dice, world, &first) };
    let mut chat = Chat { system, ..Chat::default() };
    let rounds = if shown { dice.between(1, 3) } else { dice.between(2, 4) };
    for round in 0..rounds {
        let record = if round == 0 { first.clone() } else { first.again(dice) };
        let message = if json { Style::Spaced.write(&record.json()) } else { message(dice, world, &record) };
        chat.exchange(message, fill(&form, &record));
    }
    chat.document()
}

fn message(dice: &mut Dice, world: &World, record: &Record) -> String {
    if dice.chance(25) {
        let fields: Vec<_> = record.fields.iter().collect();
        return list(dice, &fields);
    }
    record.tell(dice, world, &[])
}

/// A text with `{field}` where a value belongs.
fn form(dice: &mut Dice, world: &World, record: &Record) -> String {
    let mut parts = Vec::new();
    match dice.below(5) {
        0 => parts.push(dice.word(&["Thank you.", "Thanks for your message.", "Many thanks.", "Good news!"]).to_string()),
        1 => parts.push(dice.word(&["Hello,", "Dear friend,", "Good day,"]).to_string()),
        2 => parts.push(format!("Your {} is {}.", record.thing, dice.word(&["ready", "noted", "booked", "closed", "on its way"]))),
        _ => {}
    }
    for field in &record.fields {
        let slot = format!("{{{}}}", field.name);
        let words = field.words();
        parts.push(match (field.kind, dice.below(5)) {
            (Kind::Name, 0..3) => format!("{} {slot}{}", dice.word(&["Dear", "Hello", "For", "From"]), dice.word(&[",", "."])),
            (_, 0) => format!("The {words} is {slot}."),
            (_, 1) => format!("We have noted {slot} as the {words}."),
            (_, 2) => format!("{}: {slot}", values::capital(&words)),
            (_, 3) => format!(
                "Your {} {words} {slot} {}.",
                record.thing,
                dice.word(&["stays as it is", "was found", "is valid", "has been changed"])
            ),
            _ => format!(
                "{} {slot}.",
                world.expand(dice, "[It will be|You find it under|Please keep|We wrote down|This concerns] the {adj} {noun}")
            ),
        });
    }
    match dice.below(4) {
        0 => {
            parts.push(dice.word(&["Goodbye.", "See you soon.", "Have a nice day.", "Please write again.", "Yours, the team"]).to_string());
        }
        1 => parts.push(world.expand(dice, "Please {verb} the {noun}.")),
        _ => {}
    }
    parts.join(if dice.chance(20) { "\n" } else { " " })
}

fn fill(form: &str, record: &Record) -> String {
    record.fields.iter().fold(form.to_string(), |text, field| text.replace(&format!("{{{}}}", field.name), &field.value))
}

fn shown_instruction(dice: &mut Dice, world: &World, form: &str) -> String {
    let intro = dice.word(&[
        "Answer in this form",
        "Fill this form with the values of the message",
        "Write exactly this, with the values put in",
        "Reply with this text",
        "Use this pattern",
    ]);
    let role = if dice.chance(40) { format!("You are {}. ", world.agent) } else { String::new() };
    format!("{role}{intro}:\n{form}")
}

fn hidden_instruction(dice: &mut Dice, world: &World, record: &Record) -> String {
    match dice.below(4) {
        0 => String::new(),
        1 => format!("You are {}. Answer in the usual form.", world.agent),
        2 => format!("You write short answers about each {} for {}.", record.thing, world.agent),
        _ => format!("Answer like before. {}", Style::Compact.write(&Value::from(record.thing.as_str()))),
    }
}
