//! Checking that what is stored is what was written: chain, segments, artifacts, and the file itself.
use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Result, Role, Store, trail};

/// What was checked and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries of the audit trail whose link was recomputed.
    pub trail: u64,
    /// Hash of the newest entry, hex: noted elsewhere, it proves later that nothing was cut off.
    pub head: String,
    /// Whether the trail was opened and compared with the segments (needs the auditor key).
    pub trail_read: bool,
    /// Segments whose hash was recomputed.
    pub segments: u64,
    /// Artifact files whose hash was recomputed.
    pub artifacts: u64,
    /// What is wrong, one sentence each. Empty when all is well.
    pub problems: Vec<String>,
}

impl Store {
    /// Recomputes the audit chain, every segment's hash and every artifact's hash. Needs no key; with the auditor
    /// key the segments are also compared with what the trail says was written and dropped.
    ///
    /// # Errors
    /// When the database refuses; damage is no error but a problem in the result.
    pub fn verify(&self) -> Result<Verified> {
        let mut found = Verified::default();
        let mut query = self.connection.prepare("PRAGMA integrity_check(10)")?;
        for line in query.query_map([], |row| row.get::<_, String>(0))? {
            let line = line?;
            if line != "ok" {
                found.problems.push(format!("the database file is damaged: {line}"));
            }
        }
        self.verify_chain(&mut found)?;
        let segments = self.verify_segments(&mut found)?;
        if self.keys.has(Role::Auditor) {
            self.compare_with_trail(&segments, &mut found);
        }
        self.verify_artifacts(&mut found)?;
        Ok(found)
    }

    fn verify_chain(&self, found: &mut Verified) -> Result<()> {
        let mut query = self.connection.prepare("SELECT seq, time_ms, detail, hash FROM trail ORDER BY seq")?;
        let mut rows = query.query([])?;
        let mut before = Vec::new();
        while let Some(row) = rows.next()? {
            let (seq, time): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (detail, hash): (Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(3)?);
            found.trail += 1;
            if seq.unsigned_abs() != found.trail || hash != trail::link(&before, seq, time, &detail) {
                found.problems.push(format!("the audit trail is broken at entry {seq}"));
            }
            before = hash;
        }
        found.head = hex(&before);
        Ok(())
    }

    fn verify_segments(&self, found: &mut Verified) -> Result<BTreeMap<i64, String>> {
        let mut query = self.connection.prepare("SELECT id, hash, body FROM segment ORDER BY id")?;
        let mut rows = query.query([])?;
        let mut segments = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (id, hash): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let body = blake3::hash(row.get_ref(2)?.as_blob().unwrap_or_default());
            found.segments += 1;
            if hash != body.as_bytes() {
                found.problems.push(format!("segment {id} is not what was written"));
            }
            segments.insert(id, body.to_hex().to_string());
        }
        Ok(segments)
    }

    fn compare_with_trail(&self, segments: &BTreeMap<i64, String>, found: &mut Verified) {
        let entries = match self.trail() {
            Ok(entries) => entries,
            Err(error) => return found.problems.push(format!("the audit trail does not open: {error}")),
        };
        found.trail_read = true;
        let mut written = BTreeMap::new();
        for (_, entry) in entries {
            match entry.action.as_str() {
                "wrote" | "resealed" => drop(written.insert(entry.segment, entry.hash)),
                "dropped" => drop(written.remove(&entry.segment)),
                _ => {}
            }
        }
        for (id, hash) in segments {
            match written.remove(id) {
                None => found.problems.push(format!("segment {id} was written by nobody the audit trail knows")),
                Some(noted) if noted != *hash => found.problems.push(format!("segment {id} is not the one the audit trail noted")),
                Some(_) => {}
            }
        }
        found.problems.extend(written.keys().map(|id| format!("segment {id} is in the audit trail and no more in the store")));
    }

    fn verify_artifacts(&self, found: &mut Verified) -> Result<()> {
        let mut query = self.connection.prepare("SELECT folder, file, hash FROM artifact ORDER BY folder, file")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (folder, file, hash): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            found.artifacts += 1;
            match std::fs::read(self.artifacts.join(&folder).join(&file)) {
                Ok(bytes) if blake3::hash(&bytes).as_bytes()[..] == hash => {}
                Ok(_) => found.problems.push(format!("artifact `{folder}/{file}` is not what was written")),
                Err(cause) => found.problems.push(format!("artifact `{folder}/{file}` cannot be read: {cause}")),
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
