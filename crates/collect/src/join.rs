//! Calls whose parts stand on several lines or in several files: what waits for what, until the input has ended.
use std::collections::BTreeMap;

use record::{Call, Reject};
use serde_json::{Map, Value};

use crate::Format;
use crate::fault::Fault;
use crate::format::Part;

/// A row that waits, and where it stood.
pub struct Waiting {
    pub file: String,
    pub line: u64,
    pub row: Map<String, Value>,
}

/// Parts of one name that are looked at whenever one is added; more belong together at the end alone.
const MOST_LOOKED_AT: usize = 64;

/// The parts that were found and not joined yet.
#[derive(Default)]
pub struct Parts {
    waiting: BTreeMap<(Format, String), Vec<Waiting>>,
    /// Keys of parts that stand in one file.
    of_file: Vec<(Format, String)>,
}

/// What became of parts: their calls, or why there are none.
pub type Joined = (Format, Result<Vec<Call>, Reject>);

impl Parts {
    /// Adds a part; what it made whole comes back.
    pub fn add(&mut self, format: Format, part: Part, row: Waiting) -> Option<Joined> {
        let key = (format, part.key);
        let waiting = self.waiting.entry(key.clone()).or_default();
        if part.file_alone && waiting.is_empty() {
            self.of_file.push(key.clone());
        }
        waiting.push(row);
        if waiting.len() < 2 || waiting.len() > MOST_LOOKED_AT || !format.shape().is_whole(&mut waiting.iter().map(|waiting| &waiting.row))
        {
            return None;
        }
        self.waiting.remove(&key).map(|rows| join(format, rows))
    }

    /// What stands in one file has ended with it.
    pub fn end_of_file(&mut self) -> Vec<Joined> {
        let keys = std::mem::take(&mut self.of_file);
        keys.into_iter().filter_map(|key| self.waiting.remove(&key).map(|rows| join(key.0, rows))).collect()
    }

    /// All that is left.
    pub fn end(&mut self) -> Vec<Joined> {
        self.of_file.clear();
        std::mem::take(&mut self.waiting).into_iter().map(|((format, _), rows)| join(format, rows)).collect()
    }
}

fn join(format: Format, rows: Vec<Waiting>) -> Joined {
    let (file, line) = rows.first().map(|row| (row.file.clone(), row.line)).unwrap_or_default();
    let text = rows.first().and_then(|row| serde_json::to_string(&row.row).ok());
    let parts = rows.into_iter().map(|row| row.row).collect();
    (format, format.shape().join(parts).map_err(|fault: Fault| fault.reject(&file, line, text)))
}
