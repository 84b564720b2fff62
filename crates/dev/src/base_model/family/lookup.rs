//! Questions about given records: the answer is a value that stands in the context.
use serde_json::Value;

use super::super::dice::Dice;
use super::super::document::{Chat, Document, Style};
use super::super::record::Record;
use super::super::values::{self, Kind};
use super::super::world::World;

/// Draws a context of records and a few questions.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    let n = dice.between(1, 4);
    let first = Record::draw(dice, world, n);
    let count = dice.between(2, 5);
    let key = |dice: &mut Dice| if dice.chance(50) { values::text(dice, Kind::Id) } else { values::text(dice, Kind::Name) };
    let mut rows: Vec<(String, Record)> = vec![(key(dice), first.clone())];
    let alike = dice.chance(25);
    while rows.len() < count {
        let like = if alike { values::kin(dice, &rows[0].0) } else { None };
        let next = like.unwrap_or_else(|| key(dice));
        if rows.iter().all(|(other, _)| *other != next) {
            rows.push((next, first.again(dice)));
        }
    }
    let context = context(dice, world, &rows);
    let mut chat = Chat::default();
    let in_system = dice.chance(50);
    if in_system {
        chat.system = format!(
            "You are {}. {}\n{context}",
            world.agent,
            dice.word(&["Use this:", "Known facts:", "Answer from the list.", "Records:"])
        );
    }
    let short = dice.chance(50);
    for round in 0..dice.between(1, 4) {
        let (key, record) = dice.pick(&rows);
        let field = dice.pick(&record.fields);
        let question = question(dice, key, &field.words(), &record.thing);
        let question = if in_system || round > 0 { question } else { format!("{context}\n\n{question}") };
        let answer = if short { field.value.clone() } else { format!("The {} of {key} is {}.", field.words(), field.value) };
        chat.exchange(question, answer);
    }
    chat.document()
}

fn question(dice: &mut Dice, key: &str, field: &str, thing: &str) -> String {
    match dice.below(6) {
        0 => format!("What is the {field} of {key}?"),
        1 => format!("{key}: {field}?"),
        2 => format!("Tell me the {field} of the {thing} {key}."),
        3 => format!("I need the {field} for {key}, please."),
        4 => format!("Which {field} does {key} have?"),
        _ => format!("Please look up {key}. What {field} is written there?"),
    }
}

fn context(dice: &mut Dice, world: &World, rows: &[(String, Record)]) -> String {
    let names: Vec<_> = rows[0].1.fields.iter().map(|field| field.name.clone()).collect();
    let style = Style::draw(dice);
    match dice.below(5) {
        0 => {
            let comma = dice.word(&[",", ";", " | ", "\t"]);
            let mut lines = vec![format!("{}{comma}{}", rows[0].1.thing, names.join(comma))];
            lines.extend(rows.iter().map(|(key, record)| {
                let cells: Vec<_> = record.fields.iter().map(|field| field.value.as_str()).collect();
                format!("{key}{comma}{}", cells.join(comma))
            }));
            lines.join("\n")
        }
        1 => {
            let line = |(key, record): &(String, Record)| {
                let mut object = serde_json::Map::new();
                object.insert(record.thing.clone(), Value::from(key.as_str()));
                object.extend(record.fields.iter().map(|field| (field.name.clone(), field.json())));
                if style == Style::Pretty { Style::Spaced.write(&Value::Object(object)) } else { style.write(&Value::Object(object)) }
            };
            rows.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        2 => rows.iter().map(|(key, record)| format!("{key}: {}", record.tell(dice, world, &[]))).collect::<Vec<_>>().join("\n"),
        3 => {
            let line = |(key, record): &(String, Record)| {
                let all: Vec<_> = record.fields.iter().map(|field| format!("{} {}", field.words(), field.value)).collect();
                format!("- {} {key}, {}", record.thing, all.join(", "))
            };
            rows.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        _ => {
            let line = |(key, record): &(String, Record)| {
                let all: Vec<_> = record.fields.iter().map(|field| format!("its {} is {}", field.words(), field.value)).collect();
                format!("There is {key}: {}.", all.join(" and "))
            };
            rows.iter().map(line).collect::<Vec<_>>().join(" ")
        }
    }
}
