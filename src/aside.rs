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
        let aside = Self { folder, target: target.to_owned() };
        // what a killed run left must not get a name
        aside.clear();
        Ok(aside)
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

    fn clear(&self) {
        for name in self.names().unwrap_or_default() {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.clear();
        let _ = std::fs::remove_dir(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::Aside;

    #[test]
    fn files_appear_when_all_are_finished_and_only_those_of_this_run() {
        let target = tempfile::tempdir().expect("a scratch folder");
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(target.path()).expect("it is there").flatten().map(|e| e.file_name()).collect();
            names.sort();
            names
        };
        let put = |aside: &Aside, name| aside.create(name).and_then(|mut file| Ok(file.write_all(b"x")?)).expect("a scratch file");
        let failed = Aside::new(target.path()).expect("a scratch folder");
        put(&failed, "half");
        drop(failed);
        assert!(names().is_empty());
        // a process that was killed drops nothing
        let killed = Aside::new(target.path()).expect("a scratch folder");
        put(&killed, "half");
        std::mem::forget(killed);
        let aside = Aside::new(target.path()).expect("a scratch folder");
        put(&aside, "whole");
        aside.finish().expect("a rename");
        assert_eq!(names(), ["whole"]);
    }
}
