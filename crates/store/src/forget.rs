//! Forgetting: the calls of a person, a conversation or a client are removed from every place, and a tombstone keeps them out.
//!
//! Knows where the store keeps what; not how a text is scrubbed nor what lies outside the store.
mod find;
mod quotes;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde::Serialize;

use crate::append::{LAST_CALL, last_call};
use crate::collector::Collector;
use crate::made::Made;
use crate::seal::Kind;
use crate::store::set_meta;
use crate::tombstone::{self, Grave};
use crate::{Result, Role, Store, TrailEntry};
use find::Rejected;
use quotes::Edit;

/// Whose calls are to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A person, wherever a field of a call names them, with the whole of each such conversation.
    Person(String),
    /// A conversation.
    Conversation(String),
    /// A client: the calls that were made for it.
    Client(String),
}

/// What was forgotten, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Calls.
    pub calls: u64,
    /// Conversations that have no call left.
    pub conversations: u64,
    /// Of the calls, those that had a clean copy.
    pub clean: u64,
    /// Predictions for these calls.
    pub predictions: u64,
    /// Rejected rows whose text holds the name.
    pub rejects: u64,
    /// Kept results (of units and runs) out of which quotes of these calls were taken.
    pub results: u64,
    /// Adapters and datasets that were made from these calls. They are left as they are: what to do with them is for people to decide.
    pub made: Vec<Made>,
    /// Whether no byte of it is left in the database and its log; if not, that is done when the store is next written to.
    pub erased: bool,
}

/// What was found in the store and is to go.
struct Found {
    calls: BTreeSet<i64>,
    predictions: BTreeMap<i64, BTreeSet<usize>>,
    rejects: Vec<Rejected>,
    edits: Vec<Edit>,
}

impl Subject {
    /// `person`, `conversation` or `client`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Person(_) => "person",
            Self::Conversation(_) => "conversation",
            Self::Client(_) => "client",
        }
    }

    /// The id.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Person(name) | Self::Conversation(name) | Self::Client(name) => name,
        }
    }

    const fn grave(&self) -> Grave {
        match self {
            Self::Person(_) => Grave::Person,
            Self::Conversation(_) => Grave::Conversation,
            Self::Client(_) => Grave::Client,
        }
    }
}

impl Store {
    /// Removes the subject's calls everywhere: raw and clean bodies, columns, predictions, rejected rows that name it, quotes in kept
    /// results. Tombstones keep them out of later imports. All of it is one transaction; then the file is rewritten, so that no byte
    /// is left. With `dry_run` it only says what it would do (what it reads for that is in the audit trail all the same).
    ///
    /// # Errors
    /// Without the curator and the collector key, when a segment does not open, or when the database refuses; then nothing was removed.
    pub fn forget(&self, subject: &Subject, dry_run: bool) -> Result<Forgotten> {
        let keys = self.keys.collector("forget")?;
        self.keys.identities(&[Role::Curator], "forget")?;
        let found = self.find(keys, subject)?;
        let mut forgotten = self.count(&found)?;
        if !dry_run {
            self.write(|tx| self.remove(tx, keys, subject, &found))?;
            forgotten.erased = self.erase()?;
        }
        Ok(forgotten)
    }

    fn find(&self, keys: &Collector, subject: &Subject) -> Result<Found> {
        let calls = self.calls_of(keys, subject)?;
        let sources = self.column_of("source", &calls)?.into_iter().collect();
        let gone = quotes::Gone { keys, sources };
        let (predictions, edits) = if calls.is_empty() { Default::default() } else { (self.predictions_for(&gone)?, self.edits(&gone)?) };
        Ok(Found { calls, predictions, rejects: self.rejects_naming(subject.name())?, edits })
    }

    fn count(&self, found: &Found) -> Result<Forgotten> {
        let mut clean = 0;
        let mut left: BTreeMap<i64, i64> = BTreeMap::new();
        let mut query = self.connection.prepare_cached("SELECT clean_segment IS NOT NULL, conversation FROM call WHERE id = ?1")?;
        let mut size = self.connection.prepare_cached("SELECT count(*) FROM call WHERE conversation = ?1")?;
        for call in &found.calls {
            let (has_clean, conversation): (bool, i64) = query.query_row([call], |row| Ok((row.get(0)?, row.get(1)?)))?;
            clean += u64::from(has_clean);
            let left = match left.entry(conversation) {
                Entry::Occupied(counted) => counted.into_mut(),
                Entry::Vacant(new) => new.insert(size.query_row([conversation], |row| row.get(0))?),
            };
            *left -= 1;
        }
        Ok(Forgotten {
            calls: found.calls.len() as u64,
            conversations: left.values().filter(|count| **count == 0).count() as u64,
            clean,
            predictions: found.predictions.values().map(|gone| gone.len() as u64).sum(),
            rejects: found.rejects.len() as u64,
            results: found.edits.len() as u64,
            made: self.made_from(&found.calls)?,
            erased: false,
        })
    }

    fn remove(&self, tx: &Connection, keys: &Collector, subject: &Subject, found: &Found) -> Result<()> {
        let stone = self.bury(tx, keys, subject, found)?;
        set_meta(tx, LAST_CALL, &last_call(tx)?.to_string())?;
        let mut delete = tx.prepare_cached("DELETE FROM call WHERE id = ?1")?;
        for call in &found.calls {
            delete.execute([call])?;
        }
        for (table, column) in [("conversation", "conversation"), ("origin", "origin"), ("model", "model")] {
            let used = format!("SELECT {column} FROM call WHERE {column} IS NOT NULL");
            tx.execute_batch(&format!("DELETE FROM {table} WHERE id NOT IN ({used})"))?;
        }
        self.squeeze(tx, Kind::Raw)?;
        self.squeeze(tx, Kind::Clean)?;
        for (segment, gone) in &found.predictions {
            self.drop_records(tx, Kind::Prediction, "prediction", *segment, gone)?;
        }
        self.drop_segments(tx, Kind::Prediction, "NOT EXISTS (SELECT 1 FROM prediction WHERE segment = segment.id)")?;
        self.remove_rejects(tx, &found.rejects)?;
        for edit in &found.edits {
            self.apply(tx, edit)?;
        }
        Self::erase_later(tx)?;
        let stone = stone.iter().map(|byte| format!("{byte:02x}")).collect();
        self.note(tx, &TrailEntry::of_calls("forgot", subject.kind(), stone, found.calls.len() as u64))
    }

    fn remove_rejects(&self, tx: &Connection, rejects: &[Rejected]) -> Result<()> {
        let mut by_segment: BTreeMap<i64, BTreeSet<usize>> = BTreeMap::new();
        for reject in rejects {
            for id in &reject.ids {
                tx.prepare_cached("DELETE FROM reject WHERE id = ?1")?.execute([&id[..]])?;
            }
            by_segment.entry(reject.segment).or_default().insert(reject.position);
        }
        for (segment, gone) in &by_segment {
            self.drop_records(tx, Kind::Reject, "reject", *segment, gone)?;
        }
        self.drop_segments(tx, Kind::Reject, "NOT EXISTS (SELECT 1 FROM reject WHERE segment = segment.id)")
    }

    /// Tombstones for the subject and for all that goes with it. Gives the subject's.
    fn bury(&self, tx: &Connection, keys: &Collector, subject: &Subject, found: &Found) -> Result<[u8; 16]> {
        let now = self.now().0;
        for source in self.column_of("source", &found.calls)? {
            tombstone::set(tx, Grave::Call, &source, now)?;
        }
        if matches!(subject, Subject::Person(_)) {
            for conversation in self.column_of("(SELECT hash FROM conversation WHERE id = call.conversation)", &found.calls)? {
                tombstone::set(tx, Grave::Conversation, &conversation, now)?;
            }
        }
        for reject in &found.rejects {
            tombstone::set(tx, Grave::Reject, &reject.ids[0], now)?;
        }
        tombstone::set(tx, subject.grave(), &keys.hash(subject.grave().domain(), subject.name()), now)
    }
}
