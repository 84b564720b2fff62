//! Appending calls and rejects: the collector's half of the store.
use std::collections::BTreeSet;

use record::{Call, Recorder, Reject};
use rusqlite::{Connection, OptionalExtension};

use crate::bodies::{cut, signed};
use crate::keys::Collector;
use crate::seal::Kind;
use crate::{Error, Result, Store};

/// What became of the rows handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recorded {
    /// Calls that are new.
    pub accepted: u64,
    /// Calls whose source id was known; nothing was added.
    pub duplicate: u64,
    /// The part of `duplicate` whose content differs from what is stored under that source id.
    pub conflicting: u64,
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
            recorded.rejected = self.append_rejects(tx, keys, rejects)?;
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

    fn append_rejects(&self, tx: &Connection, keys: &Collector, rejects: &[Reject]) -> Result<u64> {
        let mut known = tx.prepare_cached("SELECT 1 FROM reject WHERE id = ?1")?;
        let (mut seen, mut fresh) = (BTreeSet::new(), Vec::new());
        for reject in rejects {
            let line = serde_json::to_string(reject)? + "\n";
            let id = keys.hash("reject", &line);
            if seen.insert(id) && !known.exists([&id[..]])? {
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
        Ok(fresh.len() as u64)
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
    let mut known = tx.prepare_cached("SELECT content FROM call WHERE source = ?1")?;
    let mut recorded = Recorded::default();
    let mut seen = std::collections::BTreeMap::new();
    let mut fresh = Vec::new();
    for call in calls {
        let mut line = serde_json::to_vec(call)?;
        let source = keys.hash("source", &call.source_id);
        let content = keys.hash_bytes("content", &line);
        line.push(b'\n');
        let before = match seen.get(&source) {
            Some(content) => Some(*content),
            None => known.query_row([&source[..]], |row| row.get(0)).optional()?,
        };
        if let Some(before) = before {
            recorded.duplicate += 1;
            recorded.conflicting += u64::from(before != content);
            continue;
        }
        seen.insert(source, content);
        recorded.accepted += 1;
        recorded.lossy += u64::from(!call.lossy.is_empty());
        fresh.push(Fresh { call, source, content, line });
    }
    Ok((fresh, recorded))
}

fn insert_call(tx: &Connection, keys: &Collector, fresh: &Fresh<'_>, segment: i64, position: usize) -> Result<()> {
    let call = fresh.call;
    let conversation = row_of(tx, "conversation", "hash", &keys.hash("conversation", &call.conversation_id)[..])?;
    let origin = call.client_id.as_deref().map(|client| row_of(tx, "origin", "hash", &keys.hash("origin", client)[..]));
    let model = row_of(tx, "model", "name", call.model())?;
    let usage = call.response.usage();
    tx.prepare_cached(
        "INSERT INTO call(source, content, conversation, origin, segment, position, plain, step, time_ms, model,
           prompt_tokens, completion_tokens, cached_tokens, latency_ms, cost_usd)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
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
    ])?;
    Ok(())
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
