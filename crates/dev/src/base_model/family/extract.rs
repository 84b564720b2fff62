//! Extraction: a message tells of a record, the answer is the record as JSON, values copied.
use serde_json::{Map, Value};

use super::super::dice::Dice;
use super::super::document::{Chat, Document, Style};
use super::super::record::Record;
use super::super::values::Kind;
use super::super::world::World;

/// Draws an extraction of one to three messages under one instruction.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    let n = dice.between(1, 6);
    let first = Record::draw(dice, world, n);
    let most = first.fields.len();
    let wanted_count = if dice.chance(70) { most } else { dice.between(1, most) };
    let names: Vec<String> = first.fields.iter().map(|field| field.name.clone()).collect();
    let wanted = dice.sample(&names, wanted_count);
    let style = Style::draw(dice);
    let mut chat = Chat::default();
    let instruction = instruction(dice, world, &first, &wanted, style);
    let in_system = dice.chance(70);
    if in_system {
        chat.system = instruction.clone();
    }
    let rounds = dice.weighted(&[6, 3, 2]) + 1;
    for round in 0..rounds {
        let record = if round == 0 { first.clone() } else { first.again(dice) };
        let silent = if dice.chance(18) { dice.sample(&wanted, 1) } else { Vec::new() };
        let message = record.tell(dice, world, &silent);
        let message = if in_system || round > 0 { message } else { format!("{instruction}\n\n{message}") };
        chat.exchange(message, style.write(&answer(&record, &wanted, &silent)));
    }
    chat.document()
}

fn answer(record: &Record, wanted: &[String], silent: &[String]) -> Value {
    let mut map = Map::new();
    for name in wanted {
        let field = record.fields.iter().find(|field| field.name == *name);
        let value = field.filter(|_| !silent.contains(name)).map_or(Value::Null, |field| field.json());
        map.insert(name.clone(), value);
    }
    Value::Object(map)
}

fn instruction(dice: &mut Dice, world: &World, record: &Record, wanted: &[String], style: Style) -> String {
    let thing = &record.thing;
    let intro = match dice.below(7) {
        0 => format!("You are {}. ", world.agent),
        1 => format!("You read messages for {}. ", world.agent),
        2 => format!("Messages about {} come in. ", world.name),
        _ => String::new(),
    };
    let verb = dice.word(&["Extract", "Read out", "Find", "Pull out", "Note down", "Collect", "Write down", "Give"]);
    let fields = wanted.join(", ");
    let body = match dice.below(6) {
        0 => format!("{verb} these fields of the {thing} as JSON: {fields}."),
        1 => format!("{verb} the {thing} from the message. Answer with one JSON object with the keys {fields}."),
        2 => format!("{verb} {fields} and reply in JSON only."),
        3 => {
            let lines: Vec<_> = wanted.iter().map(|name| format!("- {name} ({})", type_word(record, name))).collect();
            format!("{verb} from each message, as a JSON object:\n{}", lines.join("\n"))
        }
        4 => {
            let shape: Map<_, _> = wanted.iter().map(|name| (name.clone(), Value::from(type_word(record, name)))).collect();
            format!("{verb} the {thing}. The answer has this form: {}", style.write(&Value::Object(shape)))
        }
        _ => format!(
            "{verb} the {thing} in the text as JSON. Keys: {}.",
            wanted.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
        ),
    };
    let end = match dice.below(5) {
        0 => " Use null for what is not said.",
        1 => " No other text.",
        2 => " Copy the values as they are written.",
        _ => "",
    };
    format!("{intro}{body}{end}")
}

fn type_word(record: &Record, name: &str) -> &'static str {
    match record.fields.iter().find(|field| field.name == name).map(|field| field.kind) {
        Some(Kind::Count) => "integer",
        Some(Kind::Decimal) => "number",
        _ => "string",
    }
}
