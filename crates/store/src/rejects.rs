//! Reading rejected rows back. Their text is raw, so only the curator can.
use std::collections::VecDeque;

use record::Reject;

use crate::seal::Kind;
use crate::{Result, Store};

/// Iterator over rejects, in the order they were stored. Memory: one segment.
pub struct Rejects<'a> {
    store: &'a Store,
    segments: VecDeque<i64>,
    ready: VecDeque<Reject>,
}

impl Store {
    /// Every reject.
    ///
    /// # Errors
    /// Without the curator key, or when the database refuses.
    pub fn rejects(&self) -> Result<Rejects<'_>> {
        self.keys.identities(Kind::Reject.readers(), Kind::Reject.reading())?;
        let mut query = self.connection.prepare("SELECT id FROM segment WHERE kind = ?1 ORDER BY id")?;
        let segments = query.query_map([Kind::Reject.name()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Rejects { store: self, segments, ready: VecDeque::new() })
    }
}

impl Iterator for Rejects<'_> {
    type Item = Result<Reject>;
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(reject) = self.ready.pop_front() {
                return Some(Ok(reject));
            }
            let segment = self.segments.pop_front()?;
            let read = self
                .store
                .segment(Kind::Reject, segment)
                .and_then(|segment| segment.records().map(|record| Ok(serde_json::from_slice(record)?)).collect::<Result<_>>());
            match read {
                Ok(rejects) => self.ready = rejects,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
