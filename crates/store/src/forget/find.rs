//! Which calls, predictions and rejected rows belong to what is to be forgotten.
use std::collections::{BTreeMap, BTreeSet};

use record::{Call, Reject};
use serde::Deserialize;

use super::Subject;
use super::quotes::Gone;
use crate::collector::Collector;
use crate::seal::Kind;
use crate::{Result, Store, people};

/// A rejected row and where it lies.
pub struct Rejected {
    pub segment: i64,
    pub position: usize,
    /// The ids it may be stored under, the newest key's first.
    pub ids: Vec<[u8; 16]>,
}

#[derive(Deserialize)]
struct Named {
    source_id: String,
}

impl Store {
    /// Row ids of the subject's calls.
    pub(super) fn calls_of(&self, keys: &Collector, subject: &Subject) -> Result<BTreeSet<i64>> {
        match subject {
            Subject::Conversation(name) => self.calls_under(keys, "conversation", name),
            Subject::Client(name) => self.calls_under(keys, "origin", name),
            Subject::Person(name) => {
                let mut named = self.calls_under(keys, "origin", name)?;
                named.extend(self.calls_naming(name)?);
                let mut whole = BTreeSet::new();
                let sql = "SELECT id FROM call WHERE conversation = (SELECT conversation FROM call WHERE id = ?1)";
                let mut query = self.connection.prepare_cached(sql)?;
                for call in named {
                    if !whole.contains(&call) {
                        whole.extend(query.query_map([call], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?);
                    }
                }
                Ok(whole)
            }
        }
    }

    fn calls_under(&self, keys: &Collector, table: &str, name: &str) -> Result<BTreeSet<i64>> {
        let sql = format!("SELECT id FROM call WHERE {table} = (SELECT id FROM {table} WHERE hash = ?1)");
        let mut query = self.connection.prepare_cached(&sql)?;
        let mut found = BTreeSet::new();
        for hash in keys.hashes(table, name) {
            found.extend(query.query_map([&hash[..]], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        Ok(found)
    }

    /// The calls that name a person in a field. Only records that hold the name at all are parsed.
    fn calls_naming(&self, name: &str) -> Result<BTreeSet<i64>> {
        let quoted = serde_json::to_string(name)?;
        let written = &quoted[1..quoted.len() - 1];
        let mut query = self.connection.prepare_cached("SELECT id FROM call WHERE segment = ?1 AND position = ?2")?;
        let mut found = BTreeSet::new();
        for id in self.segments_of(Kind::Raw)? {
            let segment = self.segment(Kind::Raw, id)?;
            for (position, record) in segment.records().enumerate() {
                let held = std::str::from_utf8(record).is_ok_and(|text| text.contains(written));
                if held && people::of(&serde_json::from_slice::<Call>(record)?).iter().any(|person| person == name) {
                    found.insert(query.query_row((id, i64::try_from(position).unwrap_or(i64::MAX)), |row| row.get(0))?);
                }
            }
        }
        Ok(found)
    }

    fn segments_of(&self, kind: Kind) -> Result<Vec<i64>> {
        let mut query = self.connection.prepare_cached("SELECT id FROM segment WHERE kind = ?1 ORDER BY id")?;
        Ok(query.query_map([kind.name()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    /// A column of these calls that holds a keyed hash.
    pub(super) fn column_of(&self, column: &str, calls: &BTreeSet<i64>) -> Result<Vec<[u8; 16]>> {
        let mut query = self.connection.prepare_cached(&format!("SELECT {column} FROM call WHERE id = ?1"))?;
        calls.iter().map(|call| Ok(query.query_row([call], |row| row.get(0))?)).collect()
    }

    /// Predictions for what is gone: positions by segment.
    pub(super) fn predictions_for(&self, gone: &Gone<'_>) -> Result<BTreeMap<i64, BTreeSet<usize>>> {
        let mut found = BTreeMap::new();
        for id in self.segments_of(Kind::Prediction)? {
            let segment = self.segment(Kind::Prediction, id)?;
            let mut positions = BTreeSet::new();
            for (position, record) in segment.records().enumerate() {
                if gone.is(&serde_json::from_slice::<Named>(record)?.source_id) {
                    positions.insert(position);
                }
            }
            if !positions.is_empty() {
                found.insert(id, positions);
            }
        }
        Ok(found)
    }

    /// Rejected rows whose text holds the name as a word.
    pub(super) fn rejects_naming(&self, name: &str) -> Result<Vec<Rejected>> {
        let keys = self.keys.collector("forget")?;
        let mut found = Vec::new();
        for id in self.segments_of(Kind::Reject)? {
            let segment = self.segment(Kind::Reject, id)?;
            for (position, record) in segment.records().enumerate() {
                let reject: Reject = serde_json::from_slice(record)?;
                // A row is often cut off or no JSON, so it is looked through as text; escapes of JSON in it are looked for too.
                let escaped = serde_json::to_string(name)?;
                let row = reject.row.as_deref().unwrap_or_default();
                if [row, &reject.problem].iter().any(|text| people::names(text, name) || people::names(text, escaped.trim_matches('"'))) {
                    let line = String::from_utf8_lossy(record).into_owned() + "\n";
                    found.push(Rejected { segment: id, position, ids: keys.hashes("reject", &line).collect() });
                }
            }
        }
        Ok(found)
    }
}
