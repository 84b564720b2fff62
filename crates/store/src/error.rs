//! What can go wrong while remembering, with the data a person needs to cure it.
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::Role;

/// Result of the store.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A role's key file is not among those given.
    #[error("`{action}` needs the {role} key, and `{path}` is not there")]
    MissingKey {
        /// The role whose key is needed.
        role: Role,
        /// Where its key file should lie.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
    },
    /// A key file cannot be read as one.
    #[error("`{path}` is no {role} key: {problem}")]
    BadKey {
        /// The role.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A key file belongs to another store.
    #[error("the {role} key `{path}` belongs to another store")]
    WrongKey {
        /// The role.
        role: Role,
        /// The file.
        path: PathBuf,
    },
    /// A collector's key file from before the last change of keys.
    #[error("`{0}` is older than the last `slm-migrate key` that changed the store's keys")]
    OldKey(PathBuf),
    /// A key that cannot be added to or taken from a role's.
    #[error("cannot change who reads as {role}: {problem}")]
    Reader {
        /// The role.
        role: Role,
        /// Why not.
        problem: String,
    },
    /// There is something where a new file should go.
    #[error("`{0}` exists already")]
    Exists(PathBuf),
    /// There is no store.
    #[error("there is no store at `{0}`")]
    NotFound(PathBuf),
    /// Another process writes to this store.
    #[error("another process is writing to `{0}`")]
    Busy(PathBuf),
    /// The file is no store, or torn.
    #[error("`{path}` is damaged or no store: {cause}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The store was written by a later version.
    #[error("`{path}` has layout {found}, and this version knows layouts up to {known}")]
    Layout {
        /// The file.
        path: PathBuf,
        /// Layout of the file.
        found: i64,
        /// Newest layout known.
        known: i64,
    },
    /// A sealed body does not open or does not hold what it should.
    #[error("segment {segment} cannot be read: {cause}")]
    Segment {
        /// Row id of the segment; 0 where it is not a segment of calls.
        segment: i64,
        /// What happened.
        cause: String,
    },
    /// A segment is no more where it was when the reader asked.
    #[error("segment {segment} was rewritten by another process while this one read")]
    Moved {
        /// Row id it had.
        segment: i64,
    },
    /// A clean call came back that was not in the batch given out.
    #[error("{count} clean calls do not belong to the batch they came back for (their `source_id` changed)")]
    Foreign {
        /// How many.
        count: usize,
    },
    /// A name that would leave the artifact folder.
    #[error("`{0}` is no plain name for an artifact: use letters, digits, `.`, `_`, `-`, and `/` between parts")]
    Name(String),
    /// Reading or writing a file failed.
    #[error("cannot {action} `{path}`")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No room is left on the disk.
    #[error("the disk is full: nothing of the unfinished batch was stored, everything before it was")]
    Full,
    /// Another process held the database for longer than one waits.
    #[error("another process holds the database")]
    Held,
    /// What was read from the file is no database, or torn.
    #[error("the database file is damaged: {0}")]
    Torn(String),
    /// SQLite failed.
    #[error("the database refused")]
    Sql(#[source] rusqlite::Error),
    /// A data frame could not be built.
    #[error("the data frame could not be built")]
    Frame(#[from] polars::error::PolarsError),
    /// A stored value is no JSON of the kind expected.
    #[error("a stored value cannot be read")]
    Json(#[from] serde_json::Error),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, text) = &error else { return Self::Sql(error) };
        match failure.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Held,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Torn(text.clone().unwrap_or_else(|| failure.to_string())),
            _ => Self::Sql(error),
        }
    }
}

impl Error {
    /// What would cure it, where the store knows.
    #[must_use]
    pub fn cure(&self) -> Option<String> {
        Some(match self {
            Self::MissingKey { path, .. } => format!("put the key file at `{}`, or run this where it is", path.display()),
            Self::BadKey { .. } => "restore the key file from its backup".to_owned(),
            Self::WrongKey { .. } => "name the folder with the keys this store was made with".to_owned(),
            Self::Reader { .. } => "`slm-migrate key list` prints the keys of each role".to_owned(),
            Self::Exists(path) => format!("open it, or move `{}` away first", path.display()),
            Self::NotFound(_) => "run `slm-migrate init`, or name the store with `--store`".to_owned(),
            Self::OldKey(_) => "copy it anew: `slm-migrate key export DIR` writes it where the other keys are".to_owned(),
            Self::Busy(_) | Self::Held => "wait until the other process ends".to_owned(),
            Self::Moved { .. } => "run the same command again".to_owned(),
            Self::Full => "make room and run the same command again: it takes what is missing and nothing twice".to_owned(),
            Self::Torn(_) | Self::Damaged { .. } => "restore the file from its backup; `slm-migrate verify` says what is broken".to_owned(),
            Self::Layout { .. } => "use the version of slm-migrate that wrote it, or a later one".to_owned(),
            Self::Segment { .. } => "run `slm-migrate verify`".to_owned(),
            _ => return None,
        })
    }

    pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { action, path, source }
    }
}
