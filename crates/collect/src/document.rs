//! Files that are one JSON document over many lines: a list of rows, an object that holds one (a page of an API, a HAR recording), or
//! objects one behind the other. Read element by element, so that memory does not grow with the file.
use std::cell::RefCell;
use std::io::{self, BufRead};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::har;
use crate::span::otlp;

/// Lists within an object whose elements are rows.
const LISTS: [&str; 6] = ["data", "rows", "runs", "spans", "observations", "entries"];

/// Hands each row of a document to `take`, until it says that it wants no more.
///
/// # Errors
/// When the document is no JSON, with what serde says of it.
pub fn rows(input: impl BufRead, take: &mut dyn FnMut(Map<String, Value>) -> io::Result<()>) -> Result<(), serde_json::Error> {
    let take = RefCell::new(take);
    let mut input = serde_json::Deserializer::from_reader(input);
    while input.end().is_err() {
        (Rows { take: &take, deep: 0 }).deserialize(&mut input)?;
    }
    Ok(())
}

type Take<'a, 'b> = &'a RefCell<&'b mut dyn FnMut(Map<String, Value>) -> io::Result<()>>;

/// A value whose rows are taken.
struct Rows<'a, 'b> {
    take: Take<'a, 'b>,
    /// Objects around it.
    deep: u8,
}

impl Rows<'_, '_> {
    fn give<E: serde::de::Error>(&self, row: Map<String, Value>) -> Result<(), E> {
        (self.take.borrow_mut())(row).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Rows<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of objects, or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(row) = list.next_element::<Value>()? {
            match row {
                Value::Object(row) => self.give(row)?,
                other => return Err(serde::de::Error::custom(format!("a row is {}, expected an object", crate::row::kind(&other)))),
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let (mut row, mut listed) = (Map::new(), false);
        while let Some(key) = object.next_key::<String>()? {
            if self.deep == 0 && key == "log" {
                object.next_value_seed(Rows { take: self.take, deep: 1 })?;
                listed = true;
            } else if LISTS.contains(&key.as_str()) && row.keys().all(|key| !is_call(key)) {
                object.next_value_seed(List { rows: &self, row: &mut row, key: &key, listed: &mut listed })?;
            } else if self.deep > 0 {
                object.next_value::<IgnoredAny>()?;
            } else {
                row.insert(key, object.next_value()?);
            }
        }
        let held = listed && !row.keys().any(|key| is_call(key));
        if held || self.deep > 0 { Ok(()) } else { self.give(row) }
    }
}

/// Whether a field says that its object is a row itself.
fn is_call(key: &str) -> bool {
    let bodies = ["request", "response", "input", "output", "inputs", "outputs", "messages", "prompt", "instruction", "question"];
    let rows = ["attributes", "schema_version", "custom_id", "reqPayload", "request_body", "raw_request", "schemaType"];
    bodies.contains(&key) || rows.contains(&key)
}

/// A field that may be a list of rows; if it is not, it stays a field.
struct List<'r, 'a, 'b> {
    rows: &'r Rows<'a, 'b>,
    row: &'r mut Map<String, Value>,
    key: &'r str,
    listed: &'r mut bool,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

macro_rules! kept {
    ($($visit:ident $kind:ty),*) => {
        $(fn $visit<E: serde::de::Error>(self, value: $kind) -> Result<(), E> {
            self.row.insert(self.key.to_owned(), value.into());
            Ok(())
        })*
    };
}

impl<'de> Visitor<'de> for List<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        *self.listed = true;
        (Rows { take: self.rows.take, deep: 1 }).visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut value = Map::new();
        while let Some((key, inner)) = object.next_entry()? {
            value.insert(key, inner);
        }
        self.row.insert(self.key.to_owned(), Value::Object(value));
        Ok(())
    }

    kept! { visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64, visit_str &str }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.row.insert(self.key.to_owned(), Value::Null);
        Ok(())
    }
}

/// The rows that an object holds: itself, spans and log records of OTLP, exchanges of a recording, or elements of a page.
pub fn unpacked(mut object: Map<String, Value>) -> Vec<Map<String, Value>> {
    if let Some(rows) = otlp::unpack(&object).or_else(|| har::unpack(&object)) {
        return rows;
    }
    let list = LISTS.iter().find(|key| object.get(**key).and_then(Value::as_array).is_some_and(|list| list.iter().all(Value::is_object)));
    let Some(key) = list.filter(|_| object.keys().all(|key| !is_call(key))) else { return vec![object] };
    match object.shift_remove(*key) {
        Some(Value::Array(list)) => {
            list.into_iter().filter_map(|row| if let Value::Object(row) = row { Some(row) } else { None }).collect()
        }
        _ => Vec::new(),
    }
}
