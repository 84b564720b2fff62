//! Why a row could not be taken, before it is known which file and line it stood on.
use record::Reject;
use serde_json::Value;

/// A row's fault: the field, what is wrong, and what would cure it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub field: String,
    pub problem: String,
    pub cure: String,
}

impl Fault {
    pub fn new(field: impl Into<String>, problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), cure: cure.into() }
    }

    /// That a call failed, in the words of whoever says so.
    pub fn failed(field: impl Into<String>, said: Option<&Value>) -> Self {
        let said = said.map(|said| said.get("message").unwrap_or(said));
        let text = said.map(|said| said.as_str().map_or_else(|| said.to_string(), ToOwned::to_owned)).unwrap_or_default();
        let text: String = text.chars().take(200).collect();
        let problem = if text.is_empty() { "the call failed".to_owned() } else { format!("the call failed: {text}") };
        Self::new(field, problem, "nothing to cure: a failed call teaches nothing")
    }

    /// The fault as a reject of `file`, `line`, with the row's text.
    pub fn reject(self, file: &str, line: u64, row: Option<String>) -> Reject {
        Reject { file: file.to_owned(), line, field: self.field, problem: self.problem, cure: self.cure, row }
    }
}
