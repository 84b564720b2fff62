//! Writing segments anew without the records that no call points at any more, and erasing what the file keeps of them.
use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::bodies::{Segment, signed};
use crate::seal::Kind;
use crate::store::{meta, set_meta};
use crate::{Error, Result, Store};

/// Meta row that says that deleted bytes may still be in the file: a process was killed before they were erased.
const ERASE: &str = "erase";

/// Columns of `call` that say where a body of a kind lies.
pub const fn columns(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Raw => ("segment", "position"),
        _ => ("clean_segment", "clean_position"),
    }
}

/// When the oldest record of a segment was stored; of a segment of layout 1, at the latest.
pub const STORED: &str = "coalesce(stored_ms, (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'layout 1 until'), 0)";

impl Store {
    /// Rewrites every segment of calls (raw or clean) that holds a record no call points at, and drops those that no call points at.
    pub(crate) fn squeeze(&self, tx: &Connection, kind: Kind) -> Result<()> {
        let (segment, position) = columns(kind);
        let sql = format!(
            "SELECT segment.id, count(call.id) AS used FROM segment JOIN call ON call.{segment} = segment.id
             WHERE kind = ?1 GROUP BY segment.id HAVING used < records"
        );
        let loose: Vec<i64> = tx.prepare(&sql)?.query_map([kind.name()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for id in loose {
            let mut query = tx.prepare_cached(&format!("SELECT id, {position} FROM call WHERE {segment} = ?1 ORDER BY {position}"))?;
            let kept: Vec<(i64, i64)> = query.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
            let held = self.segment_within(tx, kind, id)?;
            let new = self.rewrite(tx, kind, id, &held, kept.iter().map(|(_, at)| usize::try_from(*at).unwrap_or(usize::MAX)))?;
            let mut point = tx.prepare_cached(&format!("UPDATE call SET {segment} = ?1, {position} = ?2 WHERE id = ?3"))?;
            for (at, (call, _)) in kept.iter().enumerate() {
                point.execute((new, signed(at), call))?;
            }
        }
        self.drop_segments(tx, kind, &format!("NOT EXISTS (SELECT 1 FROM call WHERE {segment} = segment.id)"))
    }

    /// A new segment of some records of an old one, as old as that.
    pub(crate) fn rewrite(
        &self,
        tx: &Connection,
        kind: Kind,
        id: i64,
        held: &Segment,
        kept: impl IntoIterator<Item = usize>,
    ) -> Result<i64> {
        let (mut lines, mut count) = (Vec::new(), 0);
        for at in kept {
            lines.extend_from_slice(held.record(at)?);
            lines.push(b'\n');
            count += 1;
        }
        let stored = Self::stored(tx, id)?;
        self.write_segment_of(tx, kind, &lines, count, stored)
    }

    fn stored(tx: &Connection, id: i64) -> Result<i64> {
        Ok(tx.prepare_cached(&format!("SELECT {STORED} FROM segment WHERE id = ?1"))?.query_row([id], |row| row.get(0))?)
    }

    /// Drops records of segments that no call points at (predictions, rejects); `table` says whose rows do.
    pub(crate) fn drop_records(&self, tx: &Connection, kind: Kind, table: &str, id: i64, gone: &BTreeSet<usize>) -> Result<()> {
        let held = self.segment_within(tx, kind, id)?;
        let count = held.records().count();
        if gone.len() < count {
            let new = self.rewrite(tx, kind, id, &held, (0..count).filter(|at| !gone.contains(at)))?;
            tx.prepare_cached(&format!("UPDATE {table} SET segment = ?1 WHERE segment = ?2"))?.execute((new, id))?;
        } else {
            tx.prepare_cached(&format!("DELETE FROM {table} WHERE segment = ?1"))?.execute([id])?;
        }
        Ok(())
    }

    /// Says, within the transaction that deletes, that deleted bytes are still to be erased.
    pub(crate) fn erase_later(tx: &Connection) -> Result<()> {
        set_meta(tx, ERASE, "due")
    }

    /// Writes the whole database anew and empties the write-ahead log, so that no deleted byte is left in either. `secure_delete`
    /// alone does not do that: cells that moved between pages leave copies. Needs as much room again as the database has. False
    /// where there was none, or where a reader holds on to the log: then it is done when the store is next opened to be written to.
    pub(crate) fn erase(&self) -> Result<bool> {
        self.cache.take();
        let rewrite = || -> Result<bool> {
            // The temporary copy goes to the disk: in memory it would be as large as the store.
            self.connection.execute_batch("PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY;")?;
            let busy: i64 = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            Ok(busy == 0)
        };
        match rewrite() {
            Ok(true) => {
                self.connection.execute("DELETE FROM meta WHERE name = ?1", [ERASE])?;
                Ok(true)
            }
            Ok(false) | Err(Error::Full | Error::Held) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Erases what a killed process had deleted and not erased.
    pub(crate) fn erase_if_due(&self) -> Result<()> {
        if meta(&self.connection, ERASE)?.is_some() {
            self.erase()?;
        }
        Ok(())
    }
}
