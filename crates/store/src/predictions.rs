//! What a model answered, kept so that a score can be looked into: sealed like clean calls.
use record::{Fingerprint, Prediction, Response};
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use crate::seal::Kind;
use crate::{Result, Store};

#[derive(Serialize, Deserialize)]
struct Line {
    source_id: String,
    response: Option<Response>,
    error: Option<String>,
    confidence: Option<f64>,
    latency_ms: Option<f64>,
    tokens: Option<(u64, u64)>,
}

impl Store {
    /// Keeps the predictions of a unit (source id of the call, answer), in place of any it had.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn put_predictions(&self, unit: &Fingerprint, predictions: &[(String, Prediction)]) -> Result<()> {
        let mut lines = Vec::new();
        for (source_id, prediction) in predictions {
            let Prediction { response, error, confidence, latency_ms, tokens } = prediction.clone();
            serde_json::to_writer(&mut lines, &Line { source_id: source_id.clone(), response, error, confidence, latency_ms, tokens })?;
            lines.push(b'\n');
        }
        self.write(|tx| {
            let segment = self.write_segment(tx, Kind::Prediction, &lines, predictions.len())?;
            tx.prepare_cached("INSERT OR REPLACE INTO prediction VALUES (?1, ?2)")?.execute((&unit.0, segment))?;
            self.drop_segments(tx, Kind::Prediction, "NOT EXISTS (SELECT 1 FROM prediction WHERE segment = segment.id)")
        })
    }

    /// The predictions of a unit in the order they were kept; none where it has none.
    ///
    /// # Errors
    /// Without the trainer or curator key, or when the database refuses.
    pub fn predictions(&self, unit: &Fingerprint) -> Result<Option<Vec<(String, Prediction)>>> {
        let mut query = self.connection.prepare_cached("SELECT segment FROM prediction WHERE unit = ?1")?;
        let Some(segment) = query.query_row([&unit.0], |row| row.get(0)).optional()? else { return Ok(None) };
        let segment = self.segment(Kind::Prediction, segment)?;
        let read = |record: &[u8]| {
            let Line { source_id, response, error, confidence, latency_ms, tokens } = serde_json::from_slice(record)?;
            Ok((source_id, Prediction { response, error, confidence, latency_ms, tokens }))
        };
        segment.records().map(read).collect::<Result<_>>().map(Some)
    }
}
