//! The audit trail: every read and write of bodies, each entry hashed together with the one before it.
//!
//! Anyone can check the chain; what an entry says is sealed for the auditor.
use record::Time;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::seal::{self, Kind};
use crate::{Result, Store};

/// What the trail says about one access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailEntry {
    /// `wrote`, `read`, `resealed` or `dropped` of a segment; `forgot` and `kept out` of calls; `rotated` and `sealed for` of keys.
    pub action: String,
    /// What the segment holds: `raw`, `clean`, `reject` or `prediction`; what was forgotten: `person`, `conversation` or `client`; whose
    /// key was changed: `origin` or a role.
    pub kind: String,
    /// Row id of the segment, which is the number of the entry that notes its writing; 0 where it is about no segment.
    pub segment: i64,
    /// Hash of the sealed segment, hex; of what was forgotten, the tombstone; of keys, the public keys or the name of the secret.
    pub hash: String,
    /// Records in it, or calls.
    pub records: u64,
}

impl TrailEntry {
    /// An entry about calls and no segment.
    pub(crate) fn of_calls(action: &str, kind: &str, hash: String, records: u64) -> Self {
        Self { action: action.to_owned(), kind: kind.to_owned(), segment: 0, hash, records }
    }
}

impl Store {
    /// Appends one entry within the caller's transaction.
    pub(crate) fn note(&self, connection: &Connection, entry: &TrailEntry) -> Result<()> {
        let detail = seal::seal(Kind::Trail, &serde_json::to_vec(entry)?, &self.recipients)?;
        let (seq, before) = next(connection)?;
        let time = self.now().0;
        let hash = link(&before, seq, time, &detail);
        connection.prepare_cached("INSERT INTO trail VALUES (?1, ?2, ?3, ?4)")?.execute((seq, time, &detail, &hash[..]))?;
        Ok(())
    }

    /// The trail, oldest first.
    ///
    /// # Errors
    /// Without the auditor key, or when the database refuses.
    pub fn trail(&self) -> Result<Vec<(Time, TrailEntry)>> {
        self.keys.identities(Kind::Trail.readers(), Kind::Trail.reading())?;
        let mut query = self.connection.prepare("SELECT time_ms, detail FROM trail ORDER BY seq")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        rows.map(|row| {
            let (time, detail) = row?;
            let plain = seal::open(Kind::Trail, &detail, &self.keys, 0)?;
            Ok((Time(time), serde_json::from_slice(&plain)?))
        })
        .collect()
    }
}

/// Number of the next entry, and the hash of the one before it.
pub fn next(connection: &Connection) -> Result<(i64, Vec<u8>)> {
    let mut query = connection.prepare_cached("SELECT seq, hash FROM trail ORDER BY seq DESC LIMIT 1")?;
    let last = query.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).optional()?;
    Ok(last.map_or((1, Vec::new()), |(seq, hash)| (seq + 1, hash)))
}

/// Hash of an entry, which covers every entry before it.
pub fn link(before: &[u8], seq: i64, time: i64, detail: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(&seq.to_le_bytes()).update(&time.to_le_bytes()).update(detail);
    *hasher.finalize().as_bytes()
}
