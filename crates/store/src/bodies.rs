//! Segments: writing many records as one sealed body, and taking single ones out again.
use std::collections::VecDeque;
use std::rc::Rc;

use rusqlite::{Connection, OptionalExtension};

use crate::seal::{self, Kind};
use crate::trail::{self, TrailEntry};
use crate::{Error, Result, Store};

/// Records that one segment takes at most.
pub const SEGMENT_RECORDS: usize = 4096;
/// Plain bytes that one segment takes at most, a single larger record apart. Bounds the memory of a reader.
pub const SEGMENT_BYTES: usize = 32 << 20;
/// Opened segments kept, for conversations that lie across a boundary.
const KEPT: usize = 2;

/// One opened segment: JSON records, one a line.
pub struct Segment {
    id: i64,
    plain: Vec<u8>,
    /// Where each record ends (the newline).
    ends: Vec<usize>,
}

impl Segment {
    fn new(id: i64, plain: Vec<u8>) -> Self {
        let ends = plain.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        Self { id, plain, ends }
    }

    /// The record at `position`, from 0.
    pub fn record(&self, position: usize) -> Result<&[u8]> {
        let start = if position == 0 { 0 } else { self.ends.get(position - 1).map_or(self.plain.len(), |end| end + 1) };
        let record = self.ends.get(position).and_then(|end| self.plain.get(start..*end));
        record.ok_or_else(|| Error::Segment { segment: self.id, cause: format!("it has no record {position}") })
    }

    /// All records in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.plain.split(|byte| *byte == b'\n').take(self.ends.len())
    }
}

/// The segments opened last.
#[derive(Default)]
pub struct Cache(VecDeque<Rc<Segment>>);

impl Store {
    /// Seals `lines` (one JSON record each, newline last) as a new segment and notes it in the trail. Its id is the number of that entry,
    /// so no id is ever given twice: a reader that comes late finds nothing under an old one, and never something else.
    pub(crate) fn write_segment(&self, connection: &Connection, kind: Kind, lines: &[u8], records: usize) -> Result<i64> {
        self.write_segment_of(connection, kind, lines, records, self.now().0)
    }

    /// As `write_segment`, of records the oldest of which was stored at `stored`.
    pub(crate) fn write_segment_of(&self, connection: &Connection, kind: Kind, lines: &[u8], records: usize, stored: i64) -> Result<i64> {
        let body = seal::seal(kind, lines, &self.recipients)?;
        let hash = blake3::hash(&body);
        let (id, _) = trail::next(connection)?;
        connection
            .prepare_cached("INSERT INTO segment(id, kind, hash, records, plain, body, stored_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute((id, kind.name(), &hash.as_bytes()[..], signed(records), signed(lines.len()), body, stored))?;
        self.note(connection, &entry("wrote", kind.name(), id, hash, records as u64))?;
        Ok(id)
    }

    /// Opens a segment, from the cache where it is. Reading the sealed body is noted in the trail first.
    pub(crate) fn segment(&self, kind: Kind, id: i64) -> Result<Rc<Segment>> {
        if let Some(found) = self.cache.borrow().0.iter().find(|segment| segment.id == id) {
            return Ok(Rc::clone(found));
        }
        let (segment, read) = self.unseal(kind, id)?;
        self.write(|tx| self.note(tx, &read))?;
        let segment = Rc::new(segment);
        let mut cache = self.cache.borrow_mut();
        cache.0.truncate(KEPT - 1);
        cache.0.push_front(Rc::clone(&segment));
        Ok(segment)
    }

    /// Opens a segment within the caller's transaction.
    pub(crate) fn segment_within(&self, tx: &Connection, kind: Kind, id: i64) -> Result<Segment> {
        let (segment, read) = self.unseal(kind, id)?;
        self.note(tx, &read)?;
        Ok(segment)
    }

    /// A segment and what the trail is to say of its being read.
    fn unseal(&self, kind: Kind, id: i64) -> Result<(Segment, TrailEntry)> {
        let mut query = self.connection.prepare_cached("SELECT body, hash, records, kind FROM segment WHERE id = ?1")?;
        let row = query.query_row([id], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?.unsigned_abs(), row.get::<_, String>(3)?))
        });
        let (body, hash, records, found) = row.optional()?.ok_or(Error::Moved { segment: id })?;
        if found != kind.name() || *blake3::hash(&body).as_bytes() != hash {
            return Err(Error::Segment { segment: id, cause: "its bytes are not those that were written".to_owned() });
        }
        let plain = seal::open(kind, &body, &self.keys, id)?;
        Ok((Segment::new(id, plain), entry("read", kind.name(), id, blake3::Hash::from_bytes(hash), records)))
    }

    /// Deletes segments of `kind` that `used` (a query for one id) no longer finds, and notes each.
    pub(crate) fn drop_segments(&self, connection: &Connection, kind: Kind, unused: &str) -> Result<()> {
        let sql = format!("SELECT id, hash, records FROM segment WHERE kind = ?1 AND {unused}");
        let mut query = connection.prepare_cached(&sql)?;
        let rows = query.query_map([kind.name()], |row| Ok((row.get(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?)))?;
        for (id, hash, records) in rows.collect::<rusqlite::Result<Vec<(i64, _, _)>>>()? {
            connection.prepare_cached("DELETE FROM segment WHERE id = ?1")?.execute([id])?;
            self.note(connection, &entry("dropped", kind.name(), id, blake3::Hash::from_bytes(hash), records.unsigned_abs()))?;
            self.cache.borrow_mut().0.retain(|segment| segment.id != id);
        }
        Ok(())
    }
}

pub fn entry(action: &str, kind: &str, segment: i64, hash: blake3::Hash, records: u64) -> TrailEntry {
    TrailEntry { action: action.to_owned(), kind: kind.to_owned(), segment, hash: hash.to_hex().to_string(), records }
}

/// A count as SQLite's integer.
pub fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Cuts records into segments: [`SEGMENT_RECORDS`] and [`SEGMENT_BYTES`] at most, at least one record each.
pub fn cut<T>(records: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut segments, mut start, mut size) = (Vec::new(), 0, 0);
    for (at, record) in records.iter().enumerate() {
        if at > start && (at - start == SEGMENT_RECORDS || size + bytes(record) > SEGMENT_BYTES) {
            segments.push(&records[start..at]);
            (start, size) = (at, 0);
        }
        size += bytes(record);
    }
    if start < records.len() {
        segments.push(&records[start..]);
    }
    segments
}
