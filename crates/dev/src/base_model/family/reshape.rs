//! The same data in another shape: lines, JSON, a table row, fewer keys, other keys.
use serde_json::{Map, Value};

use super::super::dice::Dice;
use super::super::document::{Chat, Document, Style};
use super::super::record::{Record, list};
use super::super::world::World;

/// Draws a change of shape.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    let n = dice.between(2, 6);
    let first = Record::draw(dice, world, n);
    let mut chat = Chat::default();
    let style = Style::draw(dice);
    let job = dice.below(5);
    let names: Vec<_> = first.fields.iter().map(|field| field.name.clone()).collect();
    let kept_count = dice.between(1, names.len());
    let kept = dice.sample(&names, kept_count);
    let old = dice.pick(&names).clone();
    let new = world.noun(dice);
    chat.system = match job {
        0 => "Write the lines as a JSON object.".to_string(),
        1 => "Write the JSON object as lines, a key and its value each.".to_string(),
        2 => format!("Keep only these keys: {}.", kept.join(", ")),
        3 => format!("Rename the key {old} to {new}."),
        _ => "Repeat what the user writes.".to_string(),
    };
    for round in 0..dice.between(1, 3) {
        let record = if round == 0 { first.clone() } else { first.again(dice) };
        let json = style.write(&record.json());
        let (input, output) = match job {
            0 => (list(dice, &record.fields.iter().collect::<Vec<_>>()), json),
            1 => (json, record.fields.iter().map(|field| format!("{}: {}", field.name, field.value)).collect::<Vec<_>>().join("\n")),
            2 => (json, style.write(&keep(&record, &kept))),
            3 => (json, style.write(&rename(&record, &old, &new))),
            _ => {
                let text = record.tell(dice, world, &[]);
                (text.clone(), text)
            }
        };
        chat.exchange(input, output);
    }
    chat.document()
}

fn keep(record: &Record, kept: &[String]) -> Value {
    let find = |name: &String| record.fields.iter().find(|field| field.name == *name);
    let members = kept.iter().filter_map(|name| find(name).map(|field| (name.clone(), field.json())));
    Value::Object(members.collect::<Map<_, _>>())
}

fn rename(record: &Record, old: &str, new: &str) -> Value {
    let name = |field: &str| if field == old { new.to_string() } else { field.to_string() };
    Value::Object(record.fields.iter().map(|field| (name(&field.name), field.json())).collect::<Map<_, _>>())
}
