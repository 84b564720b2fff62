//! Appending calls and rejects: the collector's half of the store.
use std::collections::{BTreeMap, BTreeSet};

use record::{Call, Recorder, Reject};
use rusqlite::{Connection, OptionalExtension};

use crate::bodies::{cut, signed};
use crate::collector::{Collector, hash};
use crate::seal::Kind;
use crate::store::{meta, set_meta};
use crate::tombstone::{self, Grave};
use crate::{Error, Result, Store, TrailEntry};

/// Meta row that holds the highest row id a forgotten call had.
pub const LAST_CALL: &str = "last call";

/// Meta row that counts what was kept out.
pub const KEPT_OUT: &str = "kept out";

/// What became of the rows handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recorded {
    /// Calls that are new.
    pub accepted: u64,
    /// Calls whose source id was known; nothing was added.
    pub duplicate: u64,
    /// The part of `duplicate` whose content differs from what is stored under that source id.
    pub conflicting: u64,
    /// Calls and rejects that were kept out, since they are of what was forgotten.
    pub forgotten: u64,
    /// Rejects that are new.
    pub rejected: u64,
    /// Accepted calls that lack something their source did not hold.
    pub lossy: u64,
}

impl std::ops::AddAssign for Recorded {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.conflicting += other.conflicting;
        self.forgotten += other.forgotten;
        self.rejected += other.rejected;
        self.lossy += other.lossy;
    }
}

/// A call on its way into a segment.
struct Fresh<'a> {
    call: &'a Call,
    source: [u8; 16],
    content: [u8; 16],
    line: Vec<u8>,
}

impl Store {
    /// Appends calls and rejects in one durable transaction. A call is known by its source id, a reject by all it
    /// says; what is known adds nothing. Needs the collector key alone.
    ///
    /// # Errors
    /// When the batch could not be written; then none of it was.
    pub fn append(&self, calls: &[Call], rejects: &[Reject]) -> Result<Recorded> {
        let keys = self.keys.collector("append calls")?;
        let recorded = self.write(|tx| {
            let (fresh, mut recorded) = fresh(tx, keys, calls)?;
            for segment in cut(&fresh, |fresh| fresh.line.len()) {
                let lines = segment.iter().map(|fresh| &fresh.line[..]).collect::<Vec<_>>().concat();
                let id = self.write_segment(tx, Kind::Raw, &lines, segment.len())?;
                for (position, fresh) in segment.iter().enumerate() {
                    insert_call(tx, keys, fresh, id, position)?;
                }
            }
            let (rejected, kept_out) = self.append_rejects(tx, keys, rejects)?;
            recorded.rejected = rejected;
            recorded.forgotten += kept_out;
            if recorded.forgotten > 0 {
                let before: u64 = meta(tx, KEPT_OUT)?.and_then(|count| count.parse().ok()).unwrap_or_default();
                set_meta(tx, KEPT_OUT, &(before + recorded.forgotten).to_string())?;
                self.note(tx, &TrailEntry::of_calls("kept out", "raw", String::new(), recorded.forgotten))?;
            }
            Ok(recorded)
        })?;
        let mut total = self.recorded.get();
        total += recorded;
        self.recorded.set(total);
        Ok(recorded)
    }

    /// What was recorded since the store was opened or this was last asked.
    pub fn take_recorded(&self) -> Recorded {
        self.recorded.take()
    }

    /// Gives how many rejects were new, and how many were kept out.
    fn append_rejects(&self, tx: &Connection, keys: &Collector, rejects: &[Reject]) -> Result<(u64, u64)> {
        let mut known = tx.prepare_cached("SELECT 1 FROM reject WHERE id = ?1")?;
        let graves = tombstone::any(tx)?;
        let (mut seen, mut fresh, mut kept_out) = (BTreeSet::new(), Vec::new(), 0);
        for reject in rejects {
            let line = serde_json::to_string(reject)? + "\n";
            let id = keys.hash("reject", &line);
            if graves && tombstone::is_set(tx, keys, Grave::Reject, &line)? {
                kept_out += 1;
                continue;
            }
            let mut stored = false;
            for hash in keys.hashes("reject", &line) {
                stored |= known.exists([&hash[..]])?;
            }
            if seen.insert(id) && !stored {
                fresh.push((id, line));
            }
        }
        for segment in cut(&fresh, |(_, line)| line.len()) {
            let lines: String = segment.iter().map(|(_, line)| line.as_str()).collect();
            let segment_id = self.write_segment(tx, Kind::Reject, lines.as_bytes(), segment.len())?;
            for (id, _) in segment {
                tx.prepare_cached("INSERT INTO reject VALUES (?1, ?2)")?.execute((&id[..], segment_id))?;
            }
        }
        Ok((fresh.len() as u64, kept_out))
    }
}

impl Recorder for Store {
    type Error = Error;
    fn record(&mut self, calls: Vec<Call>, rejects: Vec<Reject>) -> Result<()> {
        self.append(&calls, &rejects).map(|_| ())
    }
}

/// The calls not known yet, and the count of the others.
fn fresh<'a>(tx: &Connection, keys: &Collector, calls: &'a [Call]) -> Result<(Vec<Fresh<'a>>, Recorded)> {
    let graves = tombstone::any(tx)?;
    let mut recorded = Recorded::default();
    let mut seen = BTreeMap::new();
    let mut fresh = Vec::new();
    for call in calls {
        if graves && tombstone::covers(tx, keys, call)? {
            recorded.forgotten += 1;
            continue;
        }
        let mut line = serde_json::to_vec(call)?;
        let source = keys.hash("source", &call.source_id);
        let content = hash(&keys.origins[0], "content", &line);
        let same = match seen.get(&source) {
            Some(before) => Some(*before == content),
            None => known(tx, keys, call, &line)?,
        };
        line.push(b'\n');
        if let Some(same) = same {
            recorded.duplicate += 1;
            recorded.conflicting += u64::from(!same);
            continue;
        }
        seen.insert(source, content);
        recorded.accepted += 1;
        recorded.lossy += u64::from(!call.lossy.is_empty());
        fresh.push(Fresh { call, source, content, line });
    }
    Ok((fresh, recorded))
}

/// Whether a call is stored with this content; none where it is not stored at all.
fn known(tx: &Connection, keys: &Collector, call: &Call, line: &[u8]) -> Result<Option<bool>> {
    let mut query = tx.prepare_cached("SELECT content FROM call WHERE source = ?1")?;
    for key in &keys.origins {
        let source = hash(key, "source", call.source_id.as_bytes());
        if let Some(content) = query.query_row([&source[..]], |row| row.get::<_, [u8; 16]>(0)).optional()? {
            return Ok(Some(content == hash(key, "content", line)));
        }
    }
    Ok(None)
}

/// Row id of a stored call; none where it is not stored.
pub fn call_of(connection: &Connection, keys: &Collector, source_id: &str) -> Result<Option<i64>> {
    let mut query = connection.prepare_cached("SELECT id FROM call WHERE source = ?1")?;
    for source in keys.hashes("source", source_id) {
        if let Some(id) = query.query_row([&source[..]], |row| row.get(0)).optional()? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Row id of a conversation or origin. What is stored under an older key is moved to the newest, now that its name is at hand.
fn named_row(tx: &Connection, keys: &Collector, table: &str, name: &str) -> Result<i64> {
    let newest = keys.hash(table, name);
    for hash in keys.hashes(table, name).skip(1) {
        tx.prepare_cached(&format!("UPDATE OR IGNORE {table} SET hash = ?1 WHERE hash = ?2"))?.execute((&newest[..], &hash[..]))?;
    }
    row_of(tx, table, "hash", &newest[..])
}

fn insert_call(tx: &Connection, keys: &Collector, fresh: &Fresh<'_>, segment: i64, position: usize) -> Result<()> {
    let call = fresh.call;
    let conversation = named_row(tx, keys, "conversation", &call.conversation_id)?;
    let origin = call.client_id.as_deref().map(|client| named_row(tx, keys, "origin", client));
    let model = row_of(tx, "model", "name", call.model())?;
    let usage = call.response.usage();
    tx.prepare_cached(
        "INSERT INTO call(id, source, content, conversation, origin, segment, position, plain, step, time_ms, model,
           prompt_tokens, completion_tokens, cached_tokens, latency_ms, cost_usd)
         VALUES (?16, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(rusqlite::params![
        &fresh.source[..],
        &fresh.content[..],
        conversation,
        origin.transpose()?,
        segment,
        signed(position),
        signed(fresh.line.len()),
        call.step,
        call.timestamp.map(|time| time.0),
        model,
        usage.prompt.map(signed),
        usage.completion.map(signed),
        usage.cached.map(signed),
        call.latency_ms,
        call.cost_usd,
        last_call(tx)? + 1,
    ])?;
    Ok(())
}

/// The highest row id a call ever had. What is forgotten does not free its number: a later call has a higher one.
pub fn last_call(connection: &Connection) -> Result<i64> {
    let sql = "SELECT max(coalesce((SELECT max(id) FROM call), 0), coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1), 0))";
    Ok(connection.prepare_cached(sql)?.query_row([LAST_CALL], |row| row.get(0))?)
}

/// Row id of a value in one of the small tables of values, added where it is new.
pub fn row_of(tx: &Connection, table: &str, column: &str, value: impl rusqlite::ToSql) -> Result<i64> {
    let mut query = tx.prepare_cached(&format!("SELECT id FROM {table} WHERE {column} = ?1"))?;
    if let Some(id) = query.query_row([&value], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    tx.prepare_cached(&format!("INSERT INTO {table}({column}) VALUES (?1)"))?.execute([&value])?;
    Ok(tx.last_insert_rowid())
}
