//! Opening and closing: the file, the lock of its one writer, the check that the keys belong to it.
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};

use record::Time;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::append::{KEPT_OUT, Recorded};
use crate::bodies::Cache;
use crate::collector::{Collector, Recipients, SEALED_FOR};
use crate::{Error, Keys, Result, Role, schema};

/// Where the store learns the time from; the clock itself belongs to the caller.
pub type Clock = fn() -> Time;

/// An open store. One process writes at a time; any number may read beside it.
pub struct Store {
    pub(crate) path: PathBuf,
    pub(crate) artifacts: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) keys: Keys,
    pub(crate) recipients: Recipients,
    pub(crate) clock: Clock,
    pub(crate) recorded: Cell<Recorded>,
    pub(crate) cache: RefCell<Cache>,
    /// Held, not read: the lock ends with the file handle.
    _writer: Option<File>,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Calls.
    pub calls: u64,
    /// Conversations they belong to.
    pub conversations: u64,
    /// Rejected rows.
    pub rejects: u64,
    /// Calls that have a clean copy.
    pub clean: u64,
    /// Calls that have a task.
    pub assigned: u64,
    /// Calls whose raw body was dropped by age; what else is known of them stays.
    pub without_raw: u64,
    /// Calls and rejects that were kept out over time, since they are of what was forgotten.
    pub forgotten: u64,
    /// Bytes of all calls before compression.
    pub plain_bytes: u64,
    /// Bytes of the database.
    pub stored_bytes: u64,
}

impl Store {
    /// Makes a new store at `path` and its artifact folder beside it (`slm-migrate.db` and `slm-migrate/`), bound to
    /// `keys`. Opens it as the writer.
    ///
    /// # Errors
    /// When something is there already, the collector key is missing, or the disk refuses.
    pub fn create(path: &Path, keys: Keys, clock: Clock) -> Result<Self> {
        if path.exists() {
            return Err(Error::Exists(path.to_owned()));
        }
        keys.collector("create a store")?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(Error::disk("make the folder", parent))?;
        }
        Self::start(path, keys, clock, true)
    }

    /// Opens a store as its one writer.
    ///
    /// # Errors
    /// When there is none, it is damaged, another process writes to it, or a key belongs to another store.
    pub fn open(path: &Path, keys: Keys, clock: Clock) -> Result<Self> {
        if !path.exists() {
            return Err(Error::NotFound(path.to_owned()));
        }
        Self::start(path, keys, clock, true)
    }

    /// Opens a store to read beside a writer. Writing calls through it is possible but unguarded against a second
    /// writer's view; use it for `status` and `show`. (What it reads is still noted in the audit trail.)
    ///
    /// # Errors
    /// As [`Store::open`], without the lock.
    pub fn open_beside(path: &Path, keys: Keys, clock: Clock) -> Result<Self> {
        if !path.exists() {
            return Err(Error::NotFound(path.to_owned()));
        }
        Self::start(path, keys, clock, false)
    }

    fn start(path: &Path, keys: Keys, clock: Clock, writer: bool) -> Result<Self> {
        let artifacts = artifact_root(path);
        std::fs::create_dir_all(&artifacts).map_err(Error::disk("make the folder", &artifacts))?;
        let lock = if writer { Some(lock(path, &artifacts)?) } else { None };
        let damaged = |error: Error| match error {
            Error::Torn(cause) => Error::Damaged { path: path.to_owned(), cause },
            other => other,
        };
        let connect = || -> Result<Connection> {
            let mut connection = Connection::open(path)?;
            schema::prepare(&connection)?;
            schema::migrate(&mut connection, path)?;
            Ok(connection)
        };
        let connection = connect().map_err(damaged)?;
        let recipients = bind_keys(&connection, &keys, path).map_err(damaged)?;
        let (recorded, cache) = (Cell::default(), RefCell::default());
        let store = Self { path: path.to_owned(), artifacts, connection, keys, recipients, clock, recorded, cache, _writer: lock };
        if writer {
            store.sweep()?;
        }
        Ok(store)
    }

    /// Runs `work` in one transaction: all of it is durable afterwards, or none.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    pub(crate) fn now(&self) -> Time {
        (self.clock)()
    }

    /// The keys the store was opened with.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the store holds. Needs no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn counts(&self) -> Result<Counts> {
        let count = |sql: &str| -> Result<u64> {
            Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
        };
        Ok(Counts {
            calls: count("SELECT count(*) FROM call")?,
            conversations: count("SELECT count(*) FROM conversation")?,
            rejects: count("SELECT count(*) FROM reject")?,
            clean: count("SELECT count(*) FROM call WHERE clean_segment IS NOT NULL")?,
            assigned: count("SELECT count(*) FROM call WHERE task IS NOT NULL")?,
            without_raw: count("SELECT count(*) FROM call WHERE segment IS NULL")?,
            forgotten: meta(&self.connection, KEPT_OUT)?.and_then(|count| count.parse().ok()).unwrap_or_default(),
            plain_bytes: count("SELECT coalesce(sum(plain), 0) FROM call")?,
            stored_bytes: count("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")?,
        })
    }
}

/// `dir/name.db` keeps its artifacts in `dir/name/`, `dir/name` in `dir/name.artifacts/`.
fn artifact_root(path: &Path) -> PathBuf {
    let bare = path.with_extension("");
    if bare == path { path.with_extension("artifacts") } else { bare }
}

fn lock(path: &Path, artifacts: &Path) -> Result<File> {
    let name = artifacts.join(".writer");
    let file = File::options().create(true).append(true).open(&name).map_err(Error::disk("open", &name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Busy(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(Error::Disk { action: "lock", path: name, source }),
    }
}

/// Notes the public keys of a new store; for an old one, checks that the keys held are those. Gives whom to seal for.
fn bind_keys(connection: &Connection, keys: &Keys, path: &Path) -> Result<Recipients> {
    if let Ok(collector) = keys.collector("check") {
        bind_collector(connection, keys, collector)?;
    }
    let mut recipients = Recipients::default();
    for role in SEALED_FOR {
        let damaged = |cause: String| Error::Damaged { path: path.to_owned(), cause: format!("recipient of the {role}: {cause}") };
        let own = keys.identity(role).map(age::x25519::Identity::to_public);
        let known = meta(connection, &recipient(role))?;
        if known.is_none()
            && let Some(own) = &own
        {
            set_meta(connection, &recipient(role), &own.to_string())?;
        }
        let text = known.or_else(|| own.as_ref().map(ToString::to_string)).ok_or_else(|| damaged("missing".to_owned()))?;
        let known = Recipients::read(role, &text).map_err(damaged)?;
        if own.is_some_and(|own| !known.contains(&own)) {
            return Err(Error::WrongKey { role, path: keys.path(role) });
        }
        if let Some(of) = recipients.of_mut(role) {
            *of = known;
        }
    }
    Ok(recipients)
}

/// The collector's file must know the store's newest origin secret. A newer one than the store's is taken up: that rotation was cut
/// off between the key file and the store.
fn bind_collector(connection: &Connection, keys: &Keys, collector: &Collector) -> Result<()> {
    let path = || keys.path(Role::Collector);
    let marks = collector.marks();
    match meta(connection, "origin mark")? {
        Some(known) if known == marks[0] => {}
        Some(known) if marks.contains(&known) => {
            set_meta(connection, &format!("origin mark before {known}"), &known)?;
            set_meta(connection, "origin mark", &marks[0])?;
        }
        Some(_) if meta(connection, &format!("origin mark before {}", marks[0]))?.is_some() => return Err(Error::OldKey(path())),
        Some(_) => return Err(Error::WrongKey { role: Role::Collector, path: path() }),
        None => set_meta(connection, "origin mark", &marks[0])?,
    }
    for role in SEALED_FOR {
        let own = collector.recipients.of(role);
        match meta(connection, &recipient(role))?.map(|known| Recipients::read(role, &known)) {
            // A reader that the file does not know: an old file, or a database that somebody changed. Nothing is sealed for them.
            Some(known) if !known.as_ref().is_ok_and(|known| known.iter().all(|key| own.contains(key))) => {
                return Err(Error::OldKey(path()));
            }
            Some(_) => {}
            None => set_meta(connection, &recipient(role), &collector.recipients.text_of(role))?,
        }
    }
    Ok(())
}

/// Name of the meta row that holds whom bodies are sealed for.
pub fn recipient(role: Role) -> String {
    format!("recipient {role}")
}

pub fn meta(connection: &Connection, name: &str) -> Result<Option<String>> {
    let mut query = connection.prepare_cached("SELECT CAST(value AS TEXT) FROM meta WHERE name = ?1")?;
    Ok(query.query_row([name], |row| row.get(0)).optional()?)
}

pub fn set_meta(connection: &Connection, name: &str, value: &str) -> Result<()> {
    connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?.execute([name, value])?;
    Ok(())
}
