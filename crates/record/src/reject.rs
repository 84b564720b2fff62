//! A row that could not be taken, and what would cure it.
use serde::{Deserialize, Serialize};

/// One rejected row. A bad row is data: counted, kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// File name, or `-` for standard input.
    pub file: String,
    /// Line (or record) number, from 1.
    pub line: u64,
    /// Path of the field at fault (`request.messages[2].role`); empty for the whole line.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What would cure it.
    pub cure: String,
    /// The row itself, for whoever may read raw text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
}
