//! Why a row could not be taken, before it is known which file and line it stood on.
use record::Reject;

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

    /// The fault as a reject of `file`, `line`, with the row's text.
    pub fn reject(self, file: &str, line: u64, row: Option<String>) -> Reject {
        Reject { file: file.to_owned(), line, field: self.field, problem: self.problem, cure: self.cure, row }
    }
}
