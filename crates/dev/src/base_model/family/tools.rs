//! Tool use: functions are offered, the user asks, the answer is a call with copied arguments; then a result and a word on it.
use serde_json::{Map, Value, json};

use super::super::dice::Dice;
use super::super::document::{Chat, Document, Style, Turn};
use super::super::record::{Field, Record};
use super::super::values::{self, Kind};
use super::super::world::World;

/// A function and what a call of it needs.
struct Tool {
    name: String,
    verb: String,
    record: Record,
}

/// Draws a conversation with tools.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    let count = dice.weighted(&[3, 4, 3, 1]) + 1;
    let tools: Vec<Tool> = (0..count).map(|_| tool(dice, world)).collect();
    let mut chat = Chat { system: system(dice, world), ..Chat::default() };
    let flat = dice.chance(30);
    chat.tools = tools.iter().map(|tool| description(dice, world, tool, flat)).collect();
    for _ in 0..dice.weighted(&[5, 3]) + 1 {
        let tool = dice.pick(&tools);
        let record = tool.record.again(dice);
        if dice.chance(10) {
            let Some(missing) = record.fields.last().map(Field::words) else { continue };
            let request = request(dice, world, tool, &record, &[record.fields[record.fields.len() - 1].name.clone()]);
            chat.exchange(
                request,
                format!("{} the {missing}?", dice.word(&["What is", "Please tell me: what is", "I still need to know, what is"])),
            );
            continue;
        }
        chat.turns.push(Turn::User(request(dice, world, tool, &record, &[])));
        chat.turns.push(Turn::Calls(vec![(tool.name.clone(), record.json())]));
        if dice.chance(50) {
            result(dice, world, &mut chat, tool, &record);
        }
    }
    chat.document()
}

fn system(dice: &mut Dice, world: &World) -> String {
    let rule = dice.word(&[
        "Call a function when it helps.",
        "Use the functions.",
        "Do what the user wants with one call.",
        "Never guess a value.",
        "",
    ]);
    match dice.below(4) {
        0 => String::new(),
        1 => format!("You are {}. {rule}", world.agent),
        2 => format!("You help people with {}. {rule}", world.name),
        _ => format!("You are an agent of {}. {rule}", world.name),
    }
    .trim_end()
    .to_string()
}

fn tool(dice: &mut Dice, world: &World) -> Tool {
    let n = dice.weighted(&[4, 4, 3, 2]) + 1;
    let mut record = Record::draw(dice, world, n);
    let verb = if dice.chance(40) {
        world.verb(dice)
    } else {
        dice.word(&["get", "find", "add", "set", "send", "list", "start", "check", "close", "update"]).to_string()
    };
    if dice.chance(50) {
        record.thing = world.noun(dice);
    }
    let separator = dice.word(&["_", "_", "_", "-", "."]);
    Tool { name: format!("{verb}{separator}{}", record.thing), verb, record }
}

fn description(dice: &mut Dice, world: &World, tool: &Tool, flat: bool) -> Value {
    let thing = &tool.record.thing;
    let what = match dice.below(4) {
        0 => format!("{} a {thing}.", values::capital(&tool.verb)),
        1 => format!("{} the {} {thing}.", values::capital(&tool.verb), world.adjective(dice)),
        2 => format!("{} one {thing} of the {}.", values::capital(&tool.verb), world.name),
        _ => format!("Lets you {} a {thing} by {}.", tool.verb, tool.record.fields[0].words()),
    };
    let with_text = dice.chance(25);
    let mut properties = Map::new();
    for field in &tool.record.fields {
        let kind = match field.kind {
            Kind::Count => "integer",
            Kind::Decimal => "number",
            _ => "string",
        };
        let mut property = json!({"type": kind});
        if with_text {
            property["description"] = format!("the {} of the {thing}", field.words()).into();
        }
        properties.insert(field.name.clone(), property);
    }
    let required: Vec<_> = tool.record.fields.iter().map(|field| field.name.clone()).collect();
    let mut parameters = json!({"type": "object", "properties": properties});
    if !flat {
        parameters["required"] = required.into();
    }
    json!({"type": "function", "function": {"name": tool.name, "description": what, "parameters": parameters}})
}

fn request(dice: &mut Dice, world: &World, tool: &Tool, record: &Record, silent: &[String]) -> String {
    let (verb, thing) = (&tool.verb, &record.thing);
    let ask = match dice.below(7) {
        0 => format!("Please {verb} the {thing}."),
        1 => format!("Can you {verb} a {thing}?"),
        2 => format!("I want to {verb} a {thing}."),
        3 => format!("{} the {thing}.", values::capital(verb)),
        4 => format!("{} {verb} the {} {thing}, please.", dice.word(&["Now", "Could you", "Then"]), world.adjective(dice)),
        5 => format!("We have to {verb} our {thing} {}.", dice.word(&["today", "soon", "now", "tomorrow"])),
        _ => format!("It is time to {verb} the {thing}."),
    };
    let detail = record.tell(dice, world, silent);
    if dice.chance(80) { format!("{ask} {detail}") } else { format!("{detail} {ask}") }
}

/// The tool's result and the assistant's word on it, which copies from both.
fn result(dice: &mut Dice, world: &World, chat: &mut Chat, tool: &Tool, record: &Record) {
    let n = dice.between(1, 3);
    let found = Record::draw(dice, world, n);
    let style = if dice.chance(50) { Style::Compact } else { Style::Spaced };
    let mut object = json!({"status": dice.word(&["ok", "done", "found"])});
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), found.json()) {
        object.extend(more);
    }
    chat.turns.push(Turn::Tool(style.write(&object)));
    let field = dice.pick(&found.fields);
    let asked = dice.pick(&record.fields);
    let done = match dice.below(4) {
        0 => format!("Done. The {} is {}.", field.words(), field.value),
        1 => format!("I could {} the {}: {} {}.", tool.verb, record.thing, field.words(), field.value),
        2 => format!("For {} the {} is {}.", asked.value, field.words(), field.value),
        _ => {
            let all: Vec<_> = found.fields.iter().map(|field| format!("{} {}", field.words(), field.value)).collect();
            format!("Here it is: {}.", all.join(", "))
        }
    };
    chat.turns.push(Turn::Assistant(done));
}
