//! The artifact folder beside the database: what other programs read (adapters, exports), and checkpoints.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use record::Fingerprint;
use rusqlite::params;

use crate::bodies::signed;
use crate::{Error, Result, Store};

const CHECKPOINTS: &str = "checkpoints";
/// Prefix of what is being written or replaced; swept when a writer opens the store.
const ASIDE: &str = ".aside-";

impl Store {
    /// The folder that holds all artifacts.
    #[must_use]
    pub fn artifact_root(&self) -> &Path {
        &self.artifacts
    }

    /// Where an artifact lies or will lie. `name` is relative and may have parts (`adapters/ab12cd34`).
    ///
    /// # Errors
    /// When the name would leave the artifact folder.
    pub fn artifact_folder(&self, name: &str) -> Result<PathBuf> {
        Ok(self.artifacts.join(plain_name(name)?))
    }

    /// Writes the files of an artifact aside, then puts the folder in place in one step, and notes every file's hash.
    /// An artifact of that name is replaced. Gives the folder.
    ///
    /// # Errors
    /// When a name is no plain one or the disk refuses; then the old artifact stands.
    pub fn write_artifact(&self, folder: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<PathBuf> {
        let place = self.artifact_folder(folder)?;
        let token = &blake3::hash(folder.as_bytes()).to_hex()[..16];
        let (aside, old) = (self.artifacts.join(format!("{ASIDE}{token}")), self.artifacts.join(format!("{ASIDE}old-{token}")));
        remove(&aside)?;
        for (name, bytes) in files {
            write_synced(&aside.join(plain_name(name)?), bytes)?;
        }
        let parent = place.parent().unwrap_or(&self.artifacts);
        make(parent)?;
        make(&aside)?;
        sync_folder(&aside)?;
        if place.exists() {
            remove(&old)?;
            std::fs::rename(&place, &old).map_err(Error::disk("move", &place))?;
        }
        std::fs::rename(&aside, &place).map_err(Error::disk("move", &aside))?;
        sync_folder(parent)?;
        remove(&old)?;
        self.write(|tx| {
            tx.prepare_cached("DELETE FROM artifact WHERE folder = ?1")?.execute([folder])?;
            for (name, bytes) in files {
                let hash = blake3::hash(bytes);
                tx.prepare_cached("INSERT INTO artifact VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                    folder,
                    name,
                    signed(bytes.len()),
                    &hash.as_bytes()[..]
                ])?;
            }
            Ok(())
        })?;
        Ok(place)
    }

    /// Keeps a checkpoint of an unfinished unit, in place of one of that name.
    ///
    /// # Errors
    /// When the name is no plain one or the disk refuses; then the old one stands.
    pub fn save_checkpoint(&self, unit: &Fingerprint, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.checkpoint(unit, name)?;
        let aside = place.with_file_name(format!("{ASIDE}{name}"));
        write_synced(&aside, bytes)?;
        std::fs::rename(&aside, &place).map_err(Error::disk("move", &aside))?;
        place.parent().map_or(Ok(()), sync_folder)
    }

    /// A checkpoint; none where there is none.
    ///
    /// # Errors
    /// When the name is no plain one or the disk refuses.
    pub fn load_checkpoint(&self, unit: &Fingerprint, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.checkpoint(unit, name)?;
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Disk { action: "read", path, source }),
        }
    }

    /// Drops every checkpoint of a unit.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn drop_checkpoints(&self, unit: &Fingerprint) -> Result<()> {
        remove(&self.artifacts.join(CHECKPOINTS).join(plain_name(&unit.0)?))
    }

    fn checkpoint(&self, unit: &Fingerprint, name: &str) -> Result<PathBuf> {
        if name.contains('/') {
            return Err(Error::Name(name.to_owned()));
        }
        Ok(self.artifacts.join(CHECKPOINTS).join(plain_name(&unit.0)?).join(plain_name(name)?))
    }

    /// Removes what a killed writer left half written, and puts back an artifact it had moved away.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.erase_if_due()?;
        let folders: Vec<String> = {
            let mut query = self.connection.prepare("SELECT DISTINCT folder FROM artifact")?;
            query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
        };
        for folder in folders {
            let (place, token) = (self.artifact_folder(&folder)?, &blake3::hash(folder.as_bytes()).to_hex()[..16]);
            let old = self.artifacts.join(format!("{ASIDE}old-{token}"));
            if old.exists() && !place.exists() {
                std::fs::rename(&old, &place).map_err(Error::disk("move", &old))?;
            }
        }
        let entries = std::fs::read_dir(&self.artifacts).map_err(Error::disk("list", &self.artifacts))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(ASIDE) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn plain_name(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    let plain = |part: Component<'_>| match part {
        Component::Normal(part) => !part.to_string_lossy().starts_with(ASIDE),
        _ => false,
    };
    let letters = name.chars().all(|c| c.is_alphanumeric() || "._-/ ".contains(c));
    if name.is_empty() || !letters || !path.components().all(plain) { Err(Error::Name(name.to_owned())) } else { Ok(path) }
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::disk("make the folder", folder))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        make(parent)?;
    }
    let mut file = File::create(path).map_err(Error::disk("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::disk("write", path))
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::disk("sync", folder))
}

#[expect(clippy::disallowed_methods, reason = "the disk belongs to this crate")]
fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Disk { action: "remove", path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}
