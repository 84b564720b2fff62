//! Handing out raw calls for scrubbing, whole conversations at a time.
use std::collections::{BTreeMap, VecDeque};

use record::{Call, Fingerprint};
use rusqlite::params;
use serde::de::DeserializeOwned;

use crate::plan::{self, BATCH_BYTES, Place};
use crate::seal::Kind;
use crate::{Result, Store};

/// Which calls a batch held and under which scrub configuration it was asked for; give it back with the clean calls.
#[derive(Clone, Debug)]
pub struct BatchId {
    pub(crate) scrub: Fingerprint,
    /// Row id of each call by its source id.
    pub(crate) calls: BTreeMap<String, i64>,
}

/// Whole conversations: every stored call of each, in stored order.
#[derive(Clone, Debug)]
pub struct RawBatch {
    /// To be given back to [`Store::put_clean`].
    pub id: BatchId,
    /// The calls, conversation after conversation.
    pub calls: Vec<Call>,
}

/// Iterator over raw batches. Memory: one batch and two opened segments.
pub struct RawBatches<'a> {
    store: &'a Store,
    scrub: Fingerprint,
    batches: VecDeque<Vec<Place>>,
}

impl Store {
    /// Batches of the conversations that hold a call not yet scrubbed under `scrub` (the fingerprint of the scrub
    /// configuration), at most `max_calls` calls and 32 MiB of plain text each unless one conversation is larger.
    /// A conversation that gained a call comes whole again, so that its placeholders stay consistent. Calls whose raw body was
    /// dropped by age come no more; their clean copy stays as it is.
    ///
    /// # Errors
    /// Without the curator key, or when the database refuses.
    pub fn raw_conversations(&self, scrub: &Fingerprint, max_calls: usize) -> Result<RawBatches<'_>> {
        self.keys.identities(Kind::Raw.readers(), Kind::Raw.reading())?;
        let mut query = self.connection.prepare(
            "SELECT id, conversation, segment, position, plain FROM call WHERE segment IS NOT NULL AND conversation IN
               (SELECT conversation FROM call LEFT JOIN scrub ON call.scrub = scrub.id
                WHERE segment IS NOT NULL AND scrub.fingerprint IS NOT ?1)
             ORDER BY conversation, id",
        )?;
        let places = query.query_map([&scrub.0], place)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let batches = plan::batches(&places, max_calls, BATCH_BYTES).into_iter().map(<[_]>::to_vec).collect();
        Ok(RawBatches { store: self, scrub: scrub.clone(), batches })
    }

    /// Calls in conversations not yet scrubbed under `scrub`. Needs no key.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn pending(&self, scrub: &Fingerprint) -> Result<u64> {
        let mut query = self.connection.prepare_cached(
            "SELECT count(*) FROM call WHERE segment IS NOT NULL AND conversation IN
               (SELECT conversation FROM call LEFT JOIN scrub ON call.scrub = scrub.id
                WHERE segment IS NOT NULL AND scrub.fingerprint IS NOT ?1)",
        )?;
        Ok(query.query_row(params![scrub.0], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// Reads the bodies at `places`, in their order, opening each segment once.
    pub(crate) fn bodies<T: DeserializeOwned>(&self, kind: Kind, places: &[Place]) -> Result<Vec<T>> {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|at| (places[*at].segment, *at));
        let mut bodies: Vec<Option<T>> = std::iter::repeat_with(|| None).take(places.len()).collect();
        for at in order {
            let segment = self.segment(kind, places[at].segment)?;
            bodies[at] = Some(serde_json::from_slice(segment.record(places[at].position)?)?);
        }
        Ok(bodies.into_iter().flatten().collect())
    }
}

/// Reads a [`Place`] from a row of (call, conversation, segment, position, bytes).
pub fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    let size = |at| Ok::<_, rusqlite::Error>(usize::try_from(row.get::<_, i64>(at)?).unwrap_or_default());
    Ok(Place { call: row.get(0)?, conversation: row.get(1)?, segment: row.get(2)?, position: size(3)?, bytes: size(4)? })
}

impl RawBatches<'_> {
    /// Calls still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }

    fn read(&self, places: &[Place]) -> Result<RawBatch> {
        let calls: Vec<Call> = self.store.bodies(Kind::Raw, places)?;
        let ids = calls.iter().zip(places).map(|(call, place)| (call.source_id.clone(), place.call)).collect();
        Ok(RawBatch { id: BatchId { scrub: self.scrub.clone(), calls: ids }, calls })
    }
}

impl Iterator for RawBatches<'_> {
    type Item = Result<RawBatch>;
    fn next(&mut self) -> Option<Self::Item> {
        let places = self.batches.pop_front()?;
        Some(self.read(&places))
    }
}
