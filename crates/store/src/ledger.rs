//! The ledger: runs, finished units of work, and the documents a run leaves.
//!
//! Values may quote clean text, so they are sealed like clean calls; names and fingerprints stay in the clear.
use record::{Fingerprint, Time};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::seal::{self, Kind};
use crate::{Result, Store};

/// One run of the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub id: String,
    /// The run it continues from.
    pub parent: Option<String>,
    /// When it began.
    pub started: Time,
    /// Version of the tool.
    pub version: String,
    /// The whole configuration.
    pub config: Value,
}

/// A finished unit of work, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// The step that did it.
    pub step: String,
    /// A name a person recognises.
    pub label: String,
    /// When it was finished.
    pub finished: Time,
}

impl Store {
    pub(crate) fn seal_value(&self, value: &Value) -> Result<Vec<u8>> {
        seal::seal(Kind::Prediction, &serde_json::to_vec(value)?, &self.recipients)
    }

    pub(crate) fn open_value(&self, sealed: &[u8]) -> Result<Value> {
        Ok(serde_json::from_slice(&seal::open(Kind::Prediction, sealed, &self.keys, 0)?)?)
    }

    /// Notes that a run began. The same run again changes nothing.
    ///
    /// # Errors
    /// When the parent is unknown or the database refuses.
    pub fn begin_run(&self, run: &Run) -> Result<()> {
        let config = self.seal_value(&run.config)?;
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO run VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM run), ?2, ?3, ?4, ?5)")?
            .execute(params![run.id, run.parent, run.started.0, run.version, config])?;
        Ok(())
    }

    /// Every run, oldest first.
    ///
    /// # Errors
    /// Without the trainer or curator key, or when the database refuses.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let mut query = self.connection.prepare("SELECT id, parent, started_ms, version, config FROM run ORDER BY seq")?;
        let rows = query.query_map([], |row| {
            let run = Run { id: row.get(0)?, parent: row.get(1)?, started: Time(row.get(2)?), version: row.get(3)?, config: Value::Null };
            Ok((run, row.get::<_, Vec<u8>>(4)?))
        })?;
        rows.map(|row| {
            let (run, config) = row?;
            Ok(Run { config: self.open_value(&config)?, ..run })
        })
        .collect()
    }

    /// Keeps a named document of a run, in place of any of that name.
    ///
    /// # Errors
    /// When the run is unknown or the database refuses.
    pub fn put_document(&self, run: &str, kind: &str, value: &Value) -> Result<()> {
        let value = self.seal_value(value)?;
        self.connection.prepare_cached("INSERT OR REPLACE INTO document VALUES (?1, ?2, ?3)")?.execute((run, kind, value))?;
        Ok(())
    }

    /// A named document of a run; none where it has none.
    ///
    /// # Errors
    /// Without the trainer or curator key, or when the database refuses.
    pub fn document(&self, run: &str, kind: &str) -> Result<Option<Value>> {
        let mut query = self.connection.prepare_cached("SELECT value FROM document WHERE run = ?1 AND kind = ?2")?;
        let sealed: Option<Vec<u8>> = query.query_row((run, kind), |row| row.get(0)).optional()?;
        sealed.map(|sealed| self.open_value(&sealed)).transpose()
    }

    /// The latest document of a kind and the run it is of, whatever the run.
    ///
    /// # Errors
    /// As [`Store::document`].
    pub fn latest_document(&self, kind: &str) -> Result<Option<(String, Value)>> {
        let sql = "SELECT run, value FROM document JOIN run ON run.id = document.run WHERE kind = ?1 ORDER BY run.seq DESC LIMIT 1";
        let mut query = self.connection.prepare_cached(sql)?;
        let found: Option<(String, Vec<u8>)> = query.query_row([kind], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        found.map(|(run, sealed)| Ok((run, self.open_value(&sealed)?))).transpose()
    }

    /// Whether a unit of work is finished. Needs no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn unit_done(&self, unit: &Fingerprint) -> Result<bool> {
        Ok(self.connection.prepare_cached("SELECT 1 FROM unit WHERE fingerprint = ?1")?.exists([&unit.0])?)
    }

    /// Notes a unit of work as finished, with its value, and drops its checkpoints.
    ///
    /// # Errors
    /// When the database or the disk refuses.
    pub fn finish_unit(&self, unit: &Fingerprint, step: &str, label: &str, value: &Value) -> Result<()> {
        let value = self.seal_value(value)?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO unit VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM unit), ?2, ?3, ?4, ?5)")?
            .execute(params![unit.0, step, label, self.now().0, value])?;
        self.drop_checkpoints(unit)
    }

    /// The value of a finished unit; none where it is not finished.
    ///
    /// # Errors
    /// Without the trainer or curator key, or when the database refuses.
    pub fn unit_value(&self, unit: &Fingerprint) -> Result<Option<Value>> {
        let mut query = self.connection.prepare_cached("SELECT value FROM unit WHERE fingerprint = ?1")?;
        let sealed: Option<Vec<u8>> = query.query_row([&unit.0], |row| row.get(0)).optional()?;
        sealed.map(|sealed| self.open_value(&sealed)).transpose()
    }

    /// Finished units of a step, oldest first. Needs no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn units(&self, step: &str) -> Result<Vec<Unit>> {
        let mut query =
            self.connection.prepare_cached("SELECT fingerprint, step, label, finished_ms FROM unit WHERE step = ?1 ORDER BY seq")?;
        let rows = query.query_map([step], |row| {
            Ok(Unit { fingerprint: Fingerprint(row.get(0)?), step: row.get(1)?, label: row.get(2)?, finished: Time(row.get(3)?) })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
