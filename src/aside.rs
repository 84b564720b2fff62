//! Files that appear under their names all at once, or not at all: they are written beside, checked, then renamed.
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A folder within the one that is wanted, gone when it is dropped.
pub struct Aside {
    folder: PathBuf,
    target: PathBuf,
}

impl Aside {
    /// Makes it, and `target` where that is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(target: &Path) -> anyhow::Result<Self> {
        let folder = target.join(".unfinished");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        Ok(Self { folder, target: target.to_owned() })
    }

    /// Where the files lie until they are finished.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file to be written piece by piece.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self, name: &str) -> anyhow::Result<BufWriter<File>> {
        let path = self.folder.join(name);
        Ok(BufWriter::new(File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?))
    }

    /// Gives all files their names.
    ///
    /// # Errors
    /// When one cannot be renamed.
    pub fn finish(self) -> anyhow::Result<()> {
        for name in self.names()? {
            let target = self.target.join(&name);
            std::fs::rename(self.folder.join(&name), &target).with_context(|| format!("cannot write `{}`", target.display()))?;
        }
        Ok(())
    }

    fn names(&self) -> std::io::Result<Vec<std::ffi::OsString>> {
        let mut names = std::fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        for name in self.names().unwrap_or_default() {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        let _ = std::fs::remove_dir(&self.folder);
    }
}
