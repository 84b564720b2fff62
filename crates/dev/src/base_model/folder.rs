//! A folder that keeps the run: checkpoints while it lasts, the model when it is done. Writes aside, then renames.
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use finetune::{CheckpointSink, SinkError};

/// A folder on disk.
pub struct Folder(PathBuf);

impl Folder {
    /// The folder, made if it is not there.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(path.to_path_buf()))
    }

    /// Replaces a file.
    pub fn put(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let aside = self.0.join(format!("{name}.new"));
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(aside, self.0.join(name))
    }

    /// Reads a file, if it is there.
    pub fn get(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl CheckpointSink for Folder {
    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        Ok(self.put(name, bytes)?)
    }

    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, SinkError> {
        Ok(self.get(name)?)
    }
}
