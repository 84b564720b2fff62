//! The log at a glance, from the columns alone.
use record::Time;

use crate::append::{call_of, last_call};
use crate::{Result, Store};

/// What a store's log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Models that answered, with the number of calls each, most calls first.
    pub models: Vec<(String, u64)>,
    /// Time of the earliest call.
    pub first: Option<Time>,
    /// Time of the latest call.
    pub last: Option<Time>,
}

impl Store {
    /// Models and the span of time. Needs no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn overview(&self) -> Result<Overview> {
        let sql = "SELECT model.name, count(*) FROM call JOIN model ON model.id = call.model GROUP BY model.id ORDER BY 2 DESC, 1";
        let mut query = self.connection.prepare(sql)?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let models = rows.map(|row| row.map(|(name, calls)| (name, calls.unsigned_abs()))).collect::<rusqlite::Result<_>>()?;
        let span = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let (first, last) = self.connection.query_row("SELECT min(time_ms), max(time_ms) FROM call", [], span)?;
        Ok(Overview { models, first: first.map(Time), last: last.map(Time) })
    }

    /// Position of a call in the order of storing, from 1; none where it is not stored. What was stored later has a
    /// higher one, so a run can tell what came after its parent.
    ///
    /// # Errors
    /// Without the collector key (source ids are stored hashed), or when the database refuses.
    pub fn position_of(&self, source_id: &str) -> Result<Option<u64>> {
        let keys = self.keys.collector("look up a call")?;
        Ok(call_of(&self.connection, keys, source_id)?.map(i64::unsigned_abs))
    }

    /// The highest position a call ever had ([`Store::position_of`]); 0 in an empty store. Not the number of calls: what was forgotten
    /// leaves gaps.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn last_position(&self) -> Result<u64> {
        Ok(last_call(&self.connection)?.unsigned_abs())
    }
}
