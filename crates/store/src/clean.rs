//! The clean copy: taking scrubbed calls in, handing them out in a fixed order, and their tasks.
use std::collections::VecDeque;

use record::{Call, Clean, Fingerprint, TaskId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::append::{call_of, row_of};
use crate::bodies::{cut, signed};
use crate::plan::{self, BATCH_BYTES, Place};
use crate::raw::{BatchId, place};
use crate::seal::Kind;
use crate::{Error, Result, Store};

/// Calls of one batch of clean calls at most.
const BATCH_CALLS: usize = 4096;

/// Iterator over clean batches, whole conversations each. Memory: one batch and two opened segments.
pub struct CleanBatches<'a> {
    store: &'a Store,
    batches: VecDeque<Vec<Place>>,
}

impl Store {
    /// Takes the clean calls of one raw batch and marks every call of that batch as scrubbed, in one durable
    /// transaction. A call of the batch without a clean one has no clean copy (the scrubber refused it). An older
    /// clean copy of these calls is replaced, and its segment dropped once nothing of it is left.
    ///
    /// # Errors
    /// When a clean call's `source_id` is not of the batch, or the database refuses; then nothing was written.
    pub fn put_clean(&self, batch: &BatchId, clean: &[Clean<Call>]) -> Result<()> {
        let foreign = clean.iter().filter(|call| !batch.calls.contains_key(&call.source_id)).count();
        if foreign > 0 {
            return Err(Error::Foreign { count: foreign });
        }
        self.write(|tx| {
            let scrub = row_of(tx, "scrub", "fingerprint", &batch.scrub.0)?;
            let mut mark = tx.prepare_cached(
                "UPDATE call SET scrub = ?1, clean_segment = NULL, clean_position = NULL, clean_plain = NULL, clean_hash = NULL WHERE id = ?2",
            )?;
            for call in batch.calls.values() {
                mark.execute((scrub, call))?;
            }
            self.write_clean(tx, batch, clean)?;
            self.drop_segments(tx, Kind::Clean, "NOT EXISTS (SELECT 1 FROM call WHERE clean_segment = segment.id)")
        })
    }

    fn write_clean(&self, tx: &Connection, batch: &BatchId, clean: &[Clean<Call>]) -> Result<()> {
        let mut lines = Vec::with_capacity(clean.len());
        for call in clean {
            let mut line = serde_json::to_vec(call)?;
            line.push(b'\n');
            lines.push((batch.calls[&call.source_id], line));
        }
        for segment in cut(&lines, |(_, line)| line.len()) {
            let body = segment.iter().map(|(_, line)| &line[..]).collect::<Vec<_>>().concat();
            let id = self.write_segment(tx, Kind::Clean, &body, segment.len())?;
            let mut point = tx.prepare_cached(
                "UPDATE call SET clean_segment = ?1, clean_position = ?2, clean_plain = ?3, clean_hash = ?4 WHERE id = ?5",
            )?;
            for (position, (call, line)) in segment.iter().enumerate() {
                let hash = blake3::hash(line);
                point.execute(params![id, signed(position), signed(line.len()), &hash.as_bytes()[..16], call])?;
            }
        }
        Ok(())
    }

    /// Every clean call: conversations in the order they were first seen, calls in the order they were stored,
    /// in batches of whole conversations.
    ///
    /// # Errors
    /// Without the trainer or curator key, or when the database refuses.
    pub fn clean_calls(&self) -> Result<CleanBatches<'_>> {
        self.clean_where("1", [])
    }

    /// As [`Store::clean_calls`], those of one task alone.
    ///
    /// # Errors
    /// As [`Store::clean_calls`].
    pub fn clean_calls_of(&self, task: &TaskId) -> Result<CleanBatches<'_>> {
        self.clean_where("task = (SELECT id FROM task WHERE name = ?1)", [&task.0])
    }

    fn clean_where(&self, condition: &str, parameters: impl rusqlite::Params) -> Result<CleanBatches<'_>> {
        self.keys.identities(Kind::Clean.readers(), Kind::Clean.reading())?;
        let mut query = self.connection.prepare_cached(&format!(
            "SELECT id, conversation, clean_segment, clean_position, clean_plain FROM call
             WHERE clean_segment IS NOT NULL AND {condition} ORDER BY conversation, id"
        ))?;
        let places = query.query_map(parameters, place)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let batches = plan::batches(&places, BATCH_CALLS, BATCH_BYTES).into_iter().map(<[_]>::to_vec).collect();
        Ok(CleanBatches { store: self, batches })
    }

    /// Identity of all clean calls, whatever the order they came in: the input fingerprint of what is made from them.
    /// Depends on no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn clean_fingerprint(&self) -> Result<Fingerprint> {
        let mut query = self.connection.prepare("SELECT clean_hash FROM call WHERE clean_segment IS NOT NULL ORDER BY clean_hash")?;
        let mut rows = query.query([])?;
        let mut hasher = blake3::Hasher::new();
        while let Some(row) = rows.next()? {
            hasher.update(&row.get::<_, Vec<u8>>(0)?);
        }
        Ok(Fingerprint(hasher.finalize().to_hex().to_string()))
    }

    /// Notes the task of each call (by source id), none where it belongs to no task. Calls not named keep theirs.
    /// Gives the number of calls noted; a source id that is not stored is not counted.
    ///
    /// # Errors
    /// Without the collector key (source ids are stored hashed), or when the database refuses.
    pub fn assign_tasks<'a>(&self, tasks: impl IntoIterator<Item = (&'a str, Option<&'a TaskId>)>) -> Result<u64> {
        let keys = self.keys.collector("assign tasks")?;
        self.write(|tx| {
            let mut noted = 0;
            for (source_id, task) in tasks {
                let task = task.map(|task| row_of(tx, "task", "name", &task.0)).transpose()?;
                let Some(call) = call_of(tx, keys, source_id)? else { continue };
                noted += tx.prepare_cached("UPDATE call SET task = ?1 WHERE id = ?2")?.execute((task, call))?;
            }
            Ok(noted as u64)
        })
    }

    /// Forgets the task of every call, before a new clustering is noted.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn clear_tasks(&self) -> Result<()> {
        self.write(|tx| {
            tx.execute_batch("UPDATE call SET task = NULL; DELETE FROM task;")?;
            Ok(())
        })
    }

    /// The task noted for a call; none where it has none or is not stored.
    ///
    /// # Errors
    /// Without the collector key, or when the database refuses.
    pub fn task_of(&self, source_id: &str) -> Result<Option<TaskId>> {
        let keys = self.keys.collector("look up a call")?;
        let Some(call) = call_of(&self.connection, keys, source_id)? else { return Ok(None) };
        let mut query = self.connection.prepare_cached("SELECT task.name FROM call JOIN task ON call.task = task.id WHERE call.id = ?1")?;
        Ok(query.query_row([call], |row| row.get(0)).optional()?.map(TaskId))
    }
}

impl CleanBatches<'_> {
    /// Calls still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }
}

impl Iterator for CleanBatches<'_> {
    type Item = Result<Vec<Clean<Call>>>;
    fn next(&mut self) -> Option<Self::Item> {
        let places = self.batches.pop_front()?;
        #[expect(clippy::disallowed_methods, reason = "read back from a segment that only `put_clean` writes")]
        let vouch = |calls: Vec<Call>| calls.into_iter().map(Clean::vouch).collect();
        Some(self.store.bodies(Kind::Clean, &places).map(vouch))
    }
}
