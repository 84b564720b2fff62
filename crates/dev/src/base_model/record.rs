//! Records: a thing with named values, and the many ways in which a message tells of it.
use serde_json::{Map, Value};

use super::dice::Dice;
use super::values::{self, KINDS, Kind};
use super::world::World;

/// One named value.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name in snake case.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// The value as a text would write it.
    pub value: String,
}

/// A thing of a world and what is known of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it is, such as `loan`.
    pub thing: String,
    /// Its values, in the order of its schema.
    pub fields: Vec<Field>,
}

impl Field {
    /// The name as words.
    pub fn words(&self) -> String {
        self.name.replace('_', " ")
    }

    /// The value in JSON.
    pub fn json(&self) -> Value {
        values::json(self.kind, &self.value)
    }
}

impl Record {
    /// A record of a world with `n` fields: most as the world names them, some under made-up names.
    pub fn draw(dice: &mut Dice, world: &World, n: usize) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        for (name, kind) in dice.sample(&world.fields(), n) {
            let name = if dice.chance(35) { invented(dice, world, kind) } else { name };
            if fields.iter().all(|field| field.name != name) {
                let value = values::text(dice, kind);
                fields.push(Field { name, kind, value });
            }
        }
        if dice.chance(20) {
            let kind = *dice.pick(&KINDS);
            let name = invented(dice, world, kind);
            if fields.iter().all(|field| field.name != name) {
                let value = if dice.chance(30) { values::text(dice, Kind::Tag) } else { values::text(dice, kind) };
                let kind = if value.starts_with(['[', '<']) { Kind::Tag } else { kind };
                fields.push(Field { name, kind, value });
            }
        }
        Self { thing: world.thing(dice), fields }
    }

    /// Another record of the same schema.
    pub fn again(&self, dice: &mut Dice) -> Self {
        let fields = self.fields.iter().map(|field| Field { value: values::text(dice, field.kind), ..field.clone() });
        Self { thing: self.thing.clone(), fields: fields.collect() }
    }

    /// The record as a JSON object.
    pub fn json(&self) -> Value {
        Value::Object(self.fields.iter().map(|field| (field.name.clone(), field.json())).collect::<Map<_, _>>())
    }

    /// A message that tells all of the record, or all but the fields named in `silent`.
    pub fn tell(&self, dice: &mut Dice, world: &World, silent: &[String]) -> String {
        let mut told: Vec<&Field> = self.fields.iter().filter(|field| !silent.contains(&field.name)).collect();
        if dice.chance(70) {
            dice.shuffle(&mut told);
        }
        match dice.below(10) {
            0 | 1 => list(dice, &told),
            2 => told
                .iter()
                .map(|field| format!("{} {}", field.words(), field.value))
                .collect::<Vec<_>>()
                .join(dice.word(&[", ", "; ", " / "])),
            _ => self.sentences(dice, world, &told),
        }
    }

    fn sentences(&self, dice: &mut Dice, world: &World, told: &[&Field]) -> String {
        let opener = match dice.below(6) {
            0 => format!("This is about a {}.", self.thing),
            1 => format!("A {} {}:", world.adjective(dice), self.thing),
            2 => world.remark(dice),
            3 => format!("Please note the {}.", self.thing),
            4 => "Hello,".to_string(),
            _ => String::new(),
        };
        let mut text = opener;
        let mut open = false;
        for field in told {
            let alone = told.iter().filter(|other| other.kind == field.kind).count() == 1;
            let clause = clause(dice, field, alone);
            if open {
                text += &clause;
            } else {
                if !text.is_empty() {
                    text.push(' ');
                }
                text += &values::capital(&clause);
            }
            let joint = dice.word(&[", ", ", ", " and ", ". ", ". ", ""]);
            open = !joint.is_empty() && !joint.starts_with('.');
            text += if joint.is_empty() || joint == ". " { "." } else { joint };
            if !open && dice.chance(12) {
                text.push(' ');
                text += &world.remark(dice);
            }
        }
        let text = text.trim_end_matches(", ").trim_end_matches(" and ").to_string();
        if text.ends_with(['.', '?', '!']) { text } else { text + "." }
    }
}

fn invented(dice: &mut Dice, world: &World, kind: Kind) -> String {
    let end = match kind {
        Kind::Id => dice.word(&["id", "code", "number", "ref", "key"]),
        Kind::Name => dice.word(&["name", "owner", "person", "contact", "by"]),
        Kind::Word => dice.word(&["type", "word", "label", "title"]),
        Kind::Place => dice.word(&["place", "town", "location", "address"]),
        Kind::Date => dice.word(&["date", "day", "until", "since"]),
        Kind::Time => dice.word(&["time", "hour", "start"]),
        Kind::Amount => dice.word(&["amount", "total", "price", "size"]),
        Kind::Count => dice.word(&["count", "units", "number"]),
        Kind::Decimal => dice.word(&["value", "rate", "score"]),
        Kind::Email => dice.word(&["email", "mail"]),
        Kind::Phone => dice.word(&["phone", "line"]),
        Kind::Path => dice.word(&["path", "file"]),
        Kind::Tag => dice.word(&["tag", "mark"]),
    };
    if dice.chance(40) { end.to_string() } else { format!("{}_{end}", world.noun(dice)) }
}

/// The fields a line each.
pub fn list(dice: &mut Dice, fields: &[&Field]) -> String {
    let sign = dice.word(&[": ", ": ", " = ", " - ", " is "]);
    let bullet = dice.word(&["", "", "- ", "* "]);
    let raw = dice.chance(40);
    let line = |field: &&Field| format!("{bullet}{}{sign}{}", if raw { field.name.clone() } else { field.words() }, field.value);
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The value as a person says it: small counts now and then in words. What is asked for stays a number.
fn spoken(dice: &mut Dice, field: &Field) -> String {
    const WORDS: [&str; 11] = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    let word = field.value.parse::<usize>().ok().and_then(|n| WORDS.get(n.checked_sub(2)?));
    word.filter(|_| field.kind == Kind::Count && dice.chance(35)).map_or_else(|| field.value.clone(), |word| (*word).to_owned())
}

fn clause(dice: &mut Dice, field: &Field, alone: bool) -> String {
    let (name, value) = (field.words(), &spoken(dice, field));
    if alone && dice.chance(50) {
        let lead = match field.kind {
            Kind::Id => dice.word(&["number ", "it is about ", "code ", "ref ", "the one marked "]),
            Kind::Name => dice.word(&["my name is ", "I am ", "this is ", "it was ", "ask for "]),
            Kind::Place => dice.word(&["at ", "in ", "near ", "from "]),
            Kind::Date => dice.word(&["on ", "since ", "by ", "until ", "for "]),
            Kind::Time => dice.word(&["at ", "around ", "before "]),
            Kind::Amount | Kind::Decimal => dice.word(&["for ", "it was ", "with ", "about "]),
            Kind::Count => dice.word(&["we are ", "all ", "it makes "]),
            Kind::Email => dice.word(&["write to ", "my mail is ", "answer to "]),
            Kind::Phone => dice.word(&["call ", "my phone is ", "reach me on "]),
            Kind::Path => dice.word(&["it lies in ", "see ", "look at "]),
            Kind::Word | Kind::Tag => dice.word(&["it is called ", "namely ", "we say "]),
        };
        return format!("{lead}{value}");
    }
    let article = dice.word(&["the", "my", "our", "its"]);
    match dice.below(8) {
        0 => format!("{name} {value}"),
        1 => format!("{value} is {article} {name}"),
        2 => format!("{name}: {value}"),
        3 => format!("{article} {name} was {value}"),
        4 => format!("with {value} as {article} {name}"),
        _ => format!("{article} {name} is {value}"),
    }
}
