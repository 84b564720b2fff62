//! Tombstones: hashes of what was forgotten, and the question whether a call or reject is one of it.
//!
//! A tombstone is the hash of the keyed hash that stood in the columns, so it can be set without knowing the name, it tells nothing without
//! the collector's secret, and what stood in the columns is nowhere in the file any more.
use record::Call;
use rusqlite::Connection;

use crate::collector::Collector;
use crate::{Result, people};

/// What a tombstone can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grave {
    Call,
    Conversation,
    Client,
    Person,
    Reject,
}

impl Grave {
    /// Domain of the keyed hash that stands, or would stand, in a column.
    pub const fn domain(self) -> &'static str {
        match self {
            Self::Call => "source",
            Self::Conversation => "conversation",
            Self::Client => "origin",
            Self::Person => "person",
            Self::Reject => "reject",
        }
    }

    fn stone(self, column: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("slm-migrate 2026 tombstone");
        hasher.update(self.domain().as_bytes()).update(&[0]).update(column);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        short
    }
}

/// Whether anything was ever forgotten; where not, nothing need be looked up.
pub fn any(tx: &Connection) -> Result<bool> {
    Ok(tx.prepare_cached("SELECT 1 FROM tombstone LIMIT 1")?.exists([])?)
}

/// Sets a tombstone over a keyed hash and gives it. One that is there already stays.
pub fn set(tx: &Connection, grave: Grave, column: &[u8], time: i64) -> Result<[u8; 16]> {
    let stone = grave.stone(column);
    tx.prepare_cached("INSERT OR IGNORE INTO tombstone VALUES (?1, ?2)")?.execute((&stone[..], time))?;
    Ok(stone)
}

pub fn is_set(tx: &Connection, keys: &Collector, grave: Grave, name: &str) -> Result<bool> {
    let mut query = tx.prepare_cached("SELECT 1 FROM tombstone WHERE hash = ?1")?;
    for column in keys.hashes(grave.domain(), name) {
        if query.exists([&grave.stone(&column)[..]])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a call was forgotten, itself or with its conversation, client or person.
pub fn covers(tx: &Connection, keys: &Collector, call: &Call) -> Result<bool> {
    let client = call.client_id.as_deref().map(|client| (Grave::Client, client));
    let people = people::of(call);
    let named = people.iter().map(|name| (Grave::Person, name.as_str()));
    let itself = [(Grave::Call, call.source_id.as_str()), (Grave::Conversation, call.conversation_id.as_str())];
    for (grave, name) in itself.into_iter().chain(client).chain(named) {
        if is_set(tx, keys, grave, name)? {
            return Ok(true);
        }
    }
    Ok(false)
}
