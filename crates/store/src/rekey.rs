//! Changing the keys of a store that has content: a new origin secret, one reader more or fewer.
//!
//! A crash between key file and database is harmless: the collector's file may know a newer secret and more readers than the database
//! does, never the other way round, and the same command again ends what was begun.
use age::x25519::Recipient;
use rusqlite::Connection;
use serde::Serialize;

use crate::bodies::entry;
use crate::collector::{Recipients, SEALED_FOR};
use crate::seal::{self, Kind};
use crate::store::{recipient, set_meta};
use crate::{Error, Result, Role, Store, TrailEntry};

/// One key of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownKey {
    /// `curator`, `trainer` or `auditor`, whose public key it is; `origin` for a secret that hashes origins.
    pub role: String,
    /// The public key; of an origin secret, a name that gives nothing away.
    pub key: String,
    /// Whether the key file that goes with it is here.
    pub held: bool,
}

/// What changing a reader came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resealed {
    /// Segments that were sealed anew.
    pub segments: u64,
    /// Kept results that were sealed anew.
    pub results: u64,
    /// Whether no byte of the former seals is left in the database and its log.
    pub erased: bool,
}

impl Store {
    /// Every public key that bodies are sealed for, and the origin secrets by name, newest first.
    #[must_use]
    pub fn known_keys(&self) -> Vec<KnownKey> {
        let mut known = Vec::new();
        for role in SEALED_FOR {
            let own = self.keys.identity(role).map(age::x25519::Identity::to_public);
            known.extend(self.recipients.of(role).iter().map(|key| KnownKey {
                role: role.to_string(),
                key: key.to_string(),
                held: own.as_ref() == Some(key),
            }));
        }
        if let Ok(collector) = self.keys.collector("list keys") {
            let marks = collector.marks().into_iter().map(|mark| KnownKey { role: "origin".into(), key: mark[..16].into(), held: true });
            known.extend(marks);
        }
        known
    }

    /// Makes a new secret for hashing origins, conversations and source ids. What is stored keeps its hashes and is found by the older
    /// secrets, which stay in `collector.key`; what is named again is hashed anew.
    ///
    /// # Errors
    /// Without the collector key, or when the disk or the database refuses.
    pub fn rotate_origin(&mut self) -> Result<()> {
        self.keys.rotate_origin()?;
        let mark = self.keys.collector("rotate the origin secret")?.marks()[0].clone();
        self.write(|tx| {
            let before: String = tx.query_row("SELECT CAST(value AS TEXT) FROM meta WHERE name = 'origin mark'", [], |row| row.get(0))?;
            set_meta(tx, &format!("origin mark before {before}"), &before)?;
            set_meta(tx, "origin mark", &mark)?;
            self.note(tx, &TrailEntry::of_calls("rotated", "origin", mark.clone(), 0))
        })
    }

    /// Lets one more key read what `role` reads (an age public key, `age1…`): everything stored is sealed anew for it too. Of the
    /// audit trail, which is one chain, an auditor so added reads what is written from now on.
    ///
    /// # Errors
    /// Without the collector key and one that opens what is stored, for a key that is none, or when the database refuses.
    pub fn add_reader(&mut self, role: Role, key: &str) -> Result<Resealed> {
        let key = parse(role, key)?;
        let mut changed = self.recipients.clone();
        if let Some(keys) = changed.of_mut(role)
            && !keys.contains(&key)
        {
            keys.push(key);
        }
        self.keys.set_recipients(&changed)?;
        self.reseal_for(role, changed)
    }

    /// Takes a key from those that read what `role` reads: everything stored is sealed anew without it. What its holder copied
    /// before, and backups, it still opens.
    ///
    /// # Errors
    /// As [`Store::add_reader`]; when it is the role's last key, or the key file of it is here.
    pub fn remove_reader(&mut self, role: Role, key: &str) -> Result<Resealed> {
        let key = parse(role, key)?;
        let mut changed = self.recipients.clone();
        if self.keys.identity(role).is_some_and(|own| own.to_public() == key) {
            return Err(Error::Reader { role, problem: "that key's own file is here".to_owned() });
        }
        if let Some(keys) = changed.of_mut(role) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                return Err(Error::Reader { role, problem: "it is the only one, and nobody could read what is stored".to_owned() });
            }
        }
        let resealed = self.reseal_for(role, changed.clone())?;
        self.keys.set_recipients(&changed)?;
        Ok(resealed)
    }

    fn reseal_for(&mut self, role: Role, recipients: Recipients) -> Result<Resealed> {
        let mut resealed = self.write(|tx| {
            set_meta(tx, &recipient(role), &recipients.text_of(role))?;
            self.note(tx, &TrailEntry::of_calls("sealed for", &role.to_string(), recipients.text_of(role), 0))?;
            self.reseal(tx, role, &recipients)
        })?;
        self.recipients = recipients;
        resealed.erased = self.erase()?;
        Ok(resealed)
    }

    /// Seals anew whatever `role` reads and is no link of the trail.
    fn reseal(&self, tx: &Connection, role: Role, recipients: &Recipients) -> Result<Resealed> {
        let mut resealed = Resealed::default();
        for kind in [Kind::Raw, Kind::Clean, Kind::Reject, Kind::Prediction] {
            if !kind.readers().contains(&role) {
                continue;
            }
            let mut query = tx.prepare("SELECT id FROM segment WHERE kind = ?1 ORDER BY id")?;
            for id in query.query_map([kind.name()], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()? {
                let (body, records): (Vec<u8>, i64) = tx
                    .prepare_cached("SELECT body, records FROM segment WHERE id = ?1")?
                    .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let body = seal::reseal(kind, &body, &self.keys, recipients, id)?;
                let hash = blake3::hash(&body);
                tx.prepare_cached("UPDATE segment SET body = ?1, hash = ?2 WHERE id = ?3")?.execute((body, &hash.as_bytes()[..], id))?;
                self.note(tx, &entry("resealed", kind.name(), id, hash, records.unsigned_abs()))?;
                resealed.segments += 1;
            }
        }
        if Kind::Prediction.readers().contains(&role) {
            resealed.results = self.reseal_values(tx, recipients)?;
        }
        Self::erase_later(tx)?;
        Ok(resealed)
    }

    fn reseal_values(&self, tx: &Connection, recipients: &Recipients) -> Result<u64> {
        let mut count = 0;
        for (table, row, value) in [
            ("unit", "fingerprint", "value"),
            ("document", "run || char(0) || kind", "value"),
            ("run", "id", "config"),
            ("made", "CAST(id AS TEXT)", "name"),
        ] {
            let mut query = tx.prepare(&format!("SELECT {row}, {value} FROM {table}"))?;
            let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
            for (name, sealed) in rows.collect::<rusqlite::Result<Vec<_>>>()? {
                let sealed = seal::reseal(Kind::Prediction, &sealed, &self.keys, recipients, 0)?;
                tx.prepare_cached(&format!("UPDATE {table} SET {value} = ?1 WHERE {row} = ?2"))?.execute((sealed, name))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

fn parse(role: Role, key: &str) -> Result<Recipient> {
    if role == Role::Collector {
        let problem = "a collector has no key of its own, it seals for the others".to_owned();
        return Err(Error::Reader { role, problem });
    }
    key.trim().parse().map_err(|problem: &str| Error::Reader { role, problem: format!("`{key}` is no age public key: {problem}") })
}
