//! What was made from which calls: adapters and datasets that left the store's hands, so that `forget` can name them.
//!
//! Knows row ids; not what an adapter or a dataset is.
use std::collections::BTreeSet;

use record::{TaskId, Time};
use serde::Serialize;

use crate::append::call_of;
use crate::{Result, Store};

/// An adapter or dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// `adapter` or `dataset`.
    pub kind: String,
    /// Its folder: in the artifact folder for an adapter, as it was named on the command line for a dataset.
    pub name: String,
    /// When it was made.
    pub made: Time,
    /// How many of the calls asked about it was made from.
    pub calls: u64,
}

impl Store {
    /// Notes that something was made from these calls of a task (source ids; those that are not stored are passed over). Source ids
    /// are stored hashed: without the collector key all clean calls of the task are noted, rather too many than too few.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn note_made<'a>(&self, kind: &str, name: &str, task: &TaskId, calls: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut ids = BTreeSet::new();
        if let Ok(keys) = self.keys.collector("look up a call") {
            for source_id in calls {
                ids.extend(call_of(&self.connection, keys, source_id)?);
            }
        } else {
            let sql = "SELECT id FROM call WHERE clean_segment IS NOT NULL AND task = (SELECT id FROM task WHERE name = ?1)";
            let mut query = self.connection.prepare_cached(sql)?;
            ids.extend(query.query_map([&task.0], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        let name = self.seal_value(&name.into())?;
        self.write(|tx| {
            tx.prepare_cached("INSERT INTO made(kind, name, time_ms, calls) VALUES (?1, ?2, ?3, ?4)")?.execute((
                kind,
                name,
                self.now().0,
                pack(&ids),
            ))?;
            Ok(())
        })
    }

    /// What was made from any of these calls (row ids), oldest first.
    pub(crate) fn made_from(&self, calls: &BTreeSet<i64>) -> Result<Vec<Made>> {
        let mut query = self.connection.prepare("SELECT kind, name, time_ms, calls FROM made ORDER BY id")?;
        let mut rows = query.query([])?;
        let mut found: Vec<Made> = Vec::new();
        while let Some(row) = rows.next()? {
            let count = unpack(row.get_ref(3)?.as_blob().unwrap_or_default()).filter(|id| calls.contains(id)).count() as u64;
            if count > 0 {
                let name = self.open_value(&row.get::<_, Vec<u8>>(1)?)?.as_str().unwrap_or_default().to_owned();
                let made = Made { kind: row.get(0)?, name, made: Time(row.get(2)?), calls: count };
                found.retain(|other| (&other.kind, &other.name) != (&made.kind, &made.name));
                found.push(made);
            }
        }
        Ok(found)
    }
}

/// Rising row ids as the differences between them, seven bits a byte, low ones first: most take one byte.
fn pack(ids: &BTreeSet<i64>) -> Vec<u8> {
    let (mut bytes, mut before) = (Vec::new(), 0);
    for id in ids {
        let mut rest = id.abs_diff(before);
        while rest >= 0x80 {
            bytes.push(u8::try_from(rest & 0x7f).expect("seven bits fit a byte") | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).expect("seven bits fit a byte"));
        before = *id;
    }
    bytes
}

fn unpack(bytes: &[u8]) -> impl Iterator<Item = i64> {
    let (mut id, mut part, mut shift) = (0_i64, 0_i64, 0);
    bytes.iter().filter_map(move |byte| {
        part |= i64::from(byte & 0x7f) << shift;
        if byte & 0x80 != 0 && shift < 56 {
            shift += 7;
            return None;
        }
        id = id.wrapping_add(part);
        (part, shift) = (0, 0);
        Some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, pack, unpack};

    #[test]
    fn row_ids_come_back() {
        let ids: BTreeSet<i64> = [1, 2, 3, 130, 131, 1 << 20, 1 << 40, i64::MAX >> 8].into();
        assert_eq!(unpack(&pack(&ids)).collect::<BTreeSet<_>>(), ids);
        assert_eq!(pack(&(1..1000).collect()).len(), 999);
    }
}
