//! Quotes of forgotten calls in kept results: what a list says of a call by its source id is taken out of the list.
use std::collections::BTreeSet;

use rusqlite::Connection;
use serde_json::Value;

use crate::collector::Collector;
use crate::{Result, Store};

/// What is forgotten, by the keyed hash of its source id.
pub struct Gone<'a> {
    pub keys: &'a Collector,
    pub sources: BTreeSet<[u8; 16]>,
}

/// A kept result without its quotes.
pub struct Edit {
    table: &'static str,
    /// What names its row.
    row: [String; 2],
    value: Value,
}

impl Gone<'_> {
    pub fn is(&self, source_id: &str) -> bool {
        self.keys.hashes("source", source_id).any(|hash| self.sources.contains(&hash))
    }

    /// Takes out of `value` every element of a list that is, or has as `source_id`, what is gone, and every field named so. Gives
    /// whether anything was.
    fn take_from(&self, value: &mut Value) -> bool {
        match value {
            Value::Array(list) => {
                let before = list.len();
                list.retain(|element| match element {
                    Value::String(text) => !self.is(text),
                    element => !element.get("source_id").and_then(Value::as_str).is_some_and(|id| self.is(id)),
                });
                let shorter = list.len() < before;
                list.iter_mut().fold(shorter, |changed, element| self.take_from(element) || changed)
            }
            Value::Object(fields) => {
                let before = fields.len();
                fields.retain(|name, _| !self.is(name));
                let fewer = fields.len() < before;
                fields.values_mut().fold(fewer, |changed, field| self.take_from(field) || changed)
            }
            _ => false,
        }
    }
}

impl Store {
    /// The kept results that quote what is gone, without the quotes.
    pub(super) fn edits(&self, gone: &Gone<'_>) -> Result<Vec<Edit>> {
        let mut edits = Vec::new();
        for (table, row) in [("unit", "fingerprint, ''"), ("document", "run, kind")] {
            let mut query = self.connection.prepare(&format!("SELECT {row}, value FROM {table}"))?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let mut value = self.open_value(&row.get::<_, Vec<u8>>(2)?)?;
                if gone.take_from(&mut value) {
                    edits.push(Edit { table, row: [row.get(0)?, row.get(1)?], value });
                }
            }
        }
        Ok(edits)
    }

    pub(super) fn apply(&self, tx: &Connection, edit: &Edit) -> Result<()> {
        let value = self.seal_value(&edit.value)?;
        let row = if edit.table == "unit" { "fingerprint = ?2 AND '' = ?3" } else { "run = ?2 AND kind = ?3" };
        tx.prepare_cached(&format!("UPDATE {} SET value = ?1 WHERE {row}", edit.table))?.execute((value, &edit.row[0], &edit.row[1]))?;
        Ok(())
    }
}
