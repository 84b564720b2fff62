//! Dropping raw text that is old enough, and merging the many small segments that live capture leaves.
//!
//! Each dropped batch and each merged group is one transaction, so a killed process leaves a store that is as good as before or after.
use record::Time;
use rusqlite::Connection;
use serde::Serialize;

use crate::bodies::{SEGMENT_BYTES, SEGMENT_RECORDS, signed};
use crate::seal::Kind;
use crate::squeeze::{STORED, columns};
use crate::{Result, Store};

/// A segment is small if it is below this share of both limits.
const SMALL: usize = 4;
/// Segments that were stored further apart are not merged: together they would be as old as the oldest of them.
const APART_MS: i64 = 86_400_000;

/// What was dropped by age, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// Calls whose raw body went; columns, clean copy and results stay.
    pub calls: u64,
    /// Rejected rows that went.
    pub rejects: u64,
    /// Calls that are as old and stay, since no clean copy was made of them yet.
    pub unscrubbed: u64,
}

/// What merging came to, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Small segments that went.
    pub segments: u64,
    /// Segments that hold their records now.
    pub into: u64,
}

struct Small {
    id: i64,
    records: usize,
    plain: usize,
    stored: i64,
}

impl Store {
    /// Drops raw bodies and rejected rows of segments that were stored before `before`. A segment with a call that was never scrubbed
    /// stays unless `even_unscrubbed`. Needs no key.
    ///
    /// # Errors
    /// When the database refuses; then nothing was dropped.
    pub fn expire_raw(&self, before: Time, even_unscrubbed: bool, dry_run: bool) -> Result<Expired> {
        self.write(|tx| {
            let mut expired = Expired::default();
            let mut old = Vec::new();
            let sql = format!(
                "SELECT segment.id, count(*), sum(call.scrub IS NULL) FROM segment JOIN call ON call.segment = segment.id
                 WHERE kind = 'raw' AND {STORED} < ?1 GROUP BY segment.id"
            );
            let mut query = tx.prepare(&sql)?;
            let rows = query.query_map([before.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
            for row in rows {
                let (id, calls, unscrubbed) = row?;
                if unscrubbed > 0 && !even_unscrubbed {
                    expired.unscrubbed += calls.unsigned_abs();
                } else {
                    expired.calls += calls.unsigned_abs();
                    old.push(id);
                }
            }
            let sql = format!("SELECT count(*) FROM reject JOIN segment ON reject.segment = segment.id WHERE {STORED} < ?1");
            expired.rejects = tx.query_row(&sql, [before.0], |row| row.get::<_, i64>(0))?.unsigned_abs();
            if !dry_run {
                self.drop_raw(tx, &old, before)?;
            }
            Ok(expired)
        })
    }

    fn drop_raw(&self, tx: &Connection, old: &[i64], before: Time) -> Result<()> {
        let mut forget = tx.prepare_cached("UPDATE call SET segment = NULL, position = NULL WHERE segment = ?1")?;
        for id in old {
            forget.execute([id])?;
        }
        self.drop_segments(tx, Kind::Raw, "NOT EXISTS (SELECT 1 FROM call WHERE segment = segment.id)")?;
        tx.execute(&format!("DELETE FROM reject WHERE segment IN (SELECT id FROM segment WHERE {STORED} < ?1)"), [before.0])?;
        self.drop_segments(tx, Kind::Reject, "NOT EXISTS (SELECT 1 FROM reject WHERE segment = segment.id)")?;
        if old.is_empty() { Ok(()) } else { Self::erase_later(tx) }
    }

    /// Merges small segments of raw and of clean calls that were stored within a day of each other. Compressed together they take
    /// less room, and reading a log opens a few segments instead of thousands.
    ///
    /// # Errors
    /// Without the curator key, when a segment does not open or the database refuses; groups merged before stay merged.
    pub fn merge_small(&self, dry_run: bool) -> Result<Merged> {
        self.keys.identities(Kind::Raw.readers(), "merge segments")?;
        let mut merged = Merged::default();
        for kind in [Kind::Raw, Kind::Clean] {
            for group in groups(&self.small(kind)?) {
                merged.segments += group.len() as u64;
                merged.into += 1;
                if !dry_run {
                    self.write(|tx| self.merge(tx, kind, group))?;
                }
            }
        }
        Ok(merged)
    }

    /// Writes the file anew after something was dropped or merged: gives the room back, and no dropped byte is left. False where that
    /// has to wait ([`Store::forget`]).
    ///
    /// # Errors
    /// When the database refuses.
    pub fn shrink(&self) -> Result<bool> {
        self.erase()
    }

    fn small(&self, kind: Kind) -> Result<Vec<Small>> {
        let sql = format!("SELECT id, records, plain, {STORED} FROM segment WHERE kind = ?1 AND records < ?2 AND plain < ?3 ORDER BY id");
        let mut query = self.connection.prepare(&sql)?;
        let limits = (kind.name(), signed(SEGMENT_RECORDS / SMALL), signed(SEGMENT_BYTES / SMALL));
        let size = |row: &rusqlite::Row<'_>, at| Ok::<_, rusqlite::Error>(usize::try_from(row.get::<_, i64>(at)?).unwrap_or_default());
        let rows = query
            .query_map(limits, |row| Ok(Small { id: row.get(0)?, records: size(row, 1)?, plain: size(row, 2)?, stored: row.get(3)? }))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn merge(&self, tx: &Connection, kind: Kind, group: &[Small]) -> Result<()> {
        let (segment, position) = columns(kind);
        let (mut lines, mut calls) = (Vec::new(), Vec::new());
        for small in group {
            let held = self.segment_within(tx, kind, small.id)?;
            let mut query = tx.prepare_cached(&format!("SELECT id, {position} FROM call WHERE {segment} = ?1 ORDER BY {position}"))?;
            let rows = query.query_map([small.id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
            for row in rows {
                let (call, at) = row?;
                lines.extend_from_slice(held.record(usize::try_from(at).unwrap_or(usize::MAX))?);
                lines.push(b'\n');
                calls.push(call);
            }
        }
        let stored = group.iter().map(|small| small.stored).min().unwrap_or_default();
        let new = self.write_segment_of(tx, kind, &lines, calls.len(), stored)?;
        let mut point = tx.prepare_cached(&format!("UPDATE call SET {segment} = ?1, {position} = ?2 WHERE id = ?3"))?;
        for (at, call) in calls.iter().enumerate() {
            point.execute((new, signed(at), call))?;
        }
        self.drop_segments(tx, kind, &format!("NOT EXISTS (SELECT 1 FROM call WHERE {segment} = segment.id)"))?;
        Self::erase_later(tx)
    }
}

/// Runs of neighbours that fit one segment, two at least.
fn groups(small: &[Small]) -> Vec<&[Small]> {
    let (mut groups, mut start) = (Vec::new(), 0);
    let (mut records, mut plain) = (0, 0);
    for (at, segment) in small.iter().enumerate() {
        let full = records + segment.records > SEGMENT_RECORDS || plain + segment.plain > SEGMENT_BYTES;
        if at > start && (full || segment.stored.abs_diff(small[start].stored) > APART_MS.unsigned_abs()) {
            groups.push(&small[start..at]);
            (start, records, plain) = (at, 0, 0);
        }
        records += segment.records;
        plain += segment.plain;
    }
    groups.push(&small[start..]);
    groups.retain(|group| group.len() > 1);
    groups
}

#[cfg(test)]
mod tests {
    use super::{APART_MS, SEGMENT_RECORDS, Small, groups};

    #[test]
    fn groups_are_bounded_in_size_and_time() {
        let small = |records, day: i64| Small { id: 0, records, plain: records, stored: day * APART_MS };
        let sizes = |all: &[Small]| groups(all).iter().map(|group| group.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[small(1, 0)]), Vec::<usize>::new());
        assert_eq!(sizes(&[small(1, 0), small(1, 0), small(1, 1), small(1, 2), small(1, 3)]), [3, 2]);
        assert_eq!(sizes(&[small(SEGMENT_RECORDS - 1, 0), small(1, 0), small(1, 0)]), [2]);
    }
}
