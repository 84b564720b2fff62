//! The layout of the SQLite file and its migrations.
use std::path::Path;

use rusqlite::Connection;

use crate::{Error, Result};

/// One entry a layout version; `user_version` counts those applied. Entries are never edited, only added.
const MIGRATIONS: &[&str] = &["
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
-- Sealed bodies. `hash` is blake3 of `body`, so it can be checked without any key.
CREATE TABLE segment(
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, hash BLOB NOT NULL, records INTEGER NOT NULL, plain INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE conversation(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE);
CREATE TABLE origin(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE);
CREATE TABLE model(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE task(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE call(
  id INTEGER PRIMARY KEY,
  source BLOB NOT NULL UNIQUE, content BLOB NOT NULL,
  conversation INTEGER NOT NULL REFERENCES conversation(id), origin INTEGER REFERENCES origin(id),
  segment INTEGER NOT NULL REFERENCES segment(id), position INTEGER NOT NULL, plain INTEGER NOT NULL,
  step INTEGER NOT NULL, time_ms INTEGER, model INTEGER NOT NULL REFERENCES model(id),
  prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER, latency_ms REAL, cost_usd REAL,
  scrub INTEGER REFERENCES scrub(id),
  clean_segment INTEGER REFERENCES segment(id), clean_position INTEGER, clean_plain INTEGER, clean_hash BLOB,
  task INTEGER REFERENCES task(id));
CREATE INDEX call_conversation ON call(conversation);
CREATE INDEX call_clean_segment ON call(clean_segment) WHERE clean_segment IS NOT NULL;
CREATE TABLE scrub(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE reject(id BLOB PRIMARY KEY, segment INTEGER NOT NULL REFERENCES segment(id)) WITHOUT ROWID;
CREATE TABLE trail(seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, detail BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE run(id TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE, parent TEXT REFERENCES run(id), started_ms INTEGER NOT NULL, version TEXT NOT NULL, config BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE unit(fingerprint TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE, step TEXT NOT NULL, label TEXT NOT NULL, finished_ms INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE document(run TEXT NOT NULL REFERENCES run(id), kind TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY(run, kind)) WITHOUT ROWID;
CREATE TABLE artifact(folder TEXT NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(folder, file)) WITHOUT ROWID;
CREATE TABLE prediction(unit TEXT PRIMARY KEY, segment INTEGER NOT NULL REFERENCES segment(id)) WITHOUT ROWID;
", "
-- A raw body may be gone while its call stays (retention): where it lay is null then.
CREATE TABLE call_2(
  id INTEGER PRIMARY KEY,
  source BLOB NOT NULL UNIQUE, content BLOB NOT NULL,
  conversation INTEGER NOT NULL REFERENCES conversation(id), origin INTEGER REFERENCES origin(id),
  segment INTEGER REFERENCES segment(id), position INTEGER, plain INTEGER NOT NULL,
  step INTEGER NOT NULL, time_ms INTEGER, model INTEGER NOT NULL REFERENCES model(id),
  prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER, latency_ms REAL, cost_usd REAL,
  scrub INTEGER REFERENCES scrub(id),
  clean_segment INTEGER REFERENCES segment(id), clean_position INTEGER, clean_plain INTEGER, clean_hash BLOB,
  task INTEGER REFERENCES task(id));
INSERT INTO call_2 SELECT id, source, content, conversation, origin, segment, position, plain, step, time_ms, model, prompt_tokens,
  completion_tokens, cached_tokens, latency_ms, cost_usd, scrub, clean_segment, clean_position, clean_plain, clean_hash, task FROM call;
DROP TABLE call;
ALTER TABLE call_2 RENAME TO call;
CREATE INDEX call_conversation ON call(conversation);
CREATE INDEX call_segment ON call(segment) WHERE segment IS NOT NULL;
CREATE INDEX call_clean_segment ON call(clean_segment) WHERE clean_segment IS NOT NULL;
CREATE INDEX reject_segment ON reject(segment);
CREATE INDEX prediction_segment ON prediction(segment);
-- When the oldest record of a segment was stored. Null in segments of layout 1: at the latest when its last trail entry was written.
ALTER TABLE segment ADD COLUMN stored_ms INTEGER;
INSERT INTO meta SELECT 'layout 1 until', CAST(coalesce(max(time_ms), 0) AS TEXT) FROM trail;
-- Keyed hashes of what was forgotten, so that no import brings it back.
CREATE TABLE tombstone(hash BLOB PRIMARY KEY, time_ms INTEGER NOT NULL) WITHOUT ROWID;
-- Adapters and datasets, and the calls that each was made from (row ids, see made.rs).
CREATE TABLE made(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name BLOB NOT NULL, time_ms INTEGER NOT NULL, calls BLOB NOT NULL);
"];

/// Sets what every connection needs: durable commits, deleted bytes overwritten, patience with a short writer beside.
pub fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Brings the layout up to date, each version in a transaction of its own.
pub fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).expect("there are few migrations");
    if found > known || found < 0 {
        return Err(Error::Layout { path: path.to_owned(), found, known });
    }
    for version in found..known {
        let index = usize::try_from(version).expect("versions are small and not negative");
        let transaction = connection.transaction()?;
        transaction.execute_batch(MIGRATIONS[index])?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
