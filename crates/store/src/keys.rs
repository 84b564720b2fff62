//! Key files: who may append, read raw calls, read clean calls, read the trail.
//!
//! Curator, trainer and auditor each have an ordinary age identity file. The collector's file holds the public halves
//! and the secret that hashes origins; with it alone calls can be appended and none can be read.
use std::io::Write;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use age::x25519::Identity;

use crate::collector::{Collector, Recipients, hash};
use crate::{Error, Result};

/// What a key file allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Appends calls; reads none.
    Collector,
    /// Reads raw and clean calls.
    Curator,
    /// Reads clean calls.
    Trainer,
    /// Reads the audit trail and no call.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Collector, Self::Curator, Self::Trainer, Self::Auditor];

    /// Name of the key file.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Collector => "collector.key",
            Self::Curator => "curator.key",
            Self::Trainer => "trainer.key",
            Self::Auditor => "auditor.key",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.file_name().trim_end_matches(".key"))
    }
}

/// The keys found in one folder. Any of them may be absent.
#[derive(Clone)]
pub struct Keys {
    folder: PathBuf,
    collector: Option<Collector>,
    curator: Option<Identity>,
    trainer: Option<Identity>,
    auditor: Option<Identity>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held: Vec<_> = Role::ALL.into_iter().filter(|role| self.has(*role)).collect();
        f.debug_struct("Keys").field("folder", &self.folder).field("held", &held).finish()
    }
}

impl Keys {
    /// Makes new keys for every role and writes `collector.key`, `curator.key`, `trainer.key` and `auditor.key`,
    /// readable by their owner alone. The folder is made where it is missing.
    ///
    /// # Errors
    /// When a key file exists already (none is overwritten) or one cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        if let Some(path) = Role::ALL.iter().map(|role| folder.join(role.file_name())).find(|path| path.exists()) {
            return Err(Error::Exists(path));
        }
        std::fs::create_dir_all(folder).map_err(Error::disk("make the folder", folder))?;
        let (curator, trainer, auditor) = (Identity::generate(), Identity::generate(), Identity::generate());
        let recipients =
            Recipients { curator: vec![curator.to_public()], trainer: vec![trainer.to_public()], auditor: vec![auditor.to_public()] };
        let collector = Collector { recipients, origins: vec![secret()] };
        for (role, identity) in [(Role::Curator, &curator), (Role::Trainer, &trainer), (Role::Auditor, &auditor)] {
            let text = format!("# slm-migrate {role}\n# public key: {}\n{}\n", identity.to_public(), identity.to_string().expose_secret());
            write_private(&folder.join(role.file_name()), &text)?;
        }
        write_private(&folder.join(Role::Collector.file_name()), &collector.to_text())?;
        let folder = folder.to_owned();
        Ok(Self { folder, collector: Some(collector), curator: Some(curator), trainer: Some(trainer), auditor: Some(auditor) })
    }

    /// Reads the key files a folder holds. A missing file is no error until something needs it.
    ///
    /// # Errors
    /// When a file that is there cannot be read as a key.
    pub fn load(folder: &Path) -> Result<Self> {
        let identity = |role| read(folder, role)?.map(|text| parse_identity(folder, role, &text)).transpose();
        Ok(Self {
            folder: folder.to_owned(),
            collector: read(folder, Role::Collector)?.map(|text| parse_collector(folder, &text)).transpose()?,
            curator: identity(Role::Curator)?,
            trainer: identity(Role::Trainer)?,
            auditor: identity(Role::Auditor)?,
        })
    }

    /// Whether the role's key is held.
    #[must_use]
    pub const fn has(&self, role: Role) -> bool {
        match role {
            Role::Collector => self.collector.is_some(),
            Role::Curator => self.curator.is_some(),
            Role::Trainer => self.trainer.is_some(),
            Role::Auditor => self.auditor.is_some(),
        }
    }

    /// Where the role's key file lies, or should.
    #[must_use]
    pub fn path(&self, role: Role) -> PathBuf {
        self.folder.join(role.file_name())
    }

    /// Writes `collector.key` into another folder, for a machine that only collects. It holds public keys and the origin secrets.
    ///
    /// # Errors
    /// Without the collector key, when there is such a file already, or the disk refuses.
    pub fn export_collector(&self, folder: &Path) -> Result<PathBuf> {
        let text = self.collector("export the collector key")?.to_text();
        std::fs::create_dir_all(folder).map_err(Error::disk("make the folder", folder))?;
        let path = folder.join(Role::Collector.file_name());
        if path.exists() {
            return Err(Error::Exists(path));
        }
        write_private(&path, &text)?;
        Ok(path)
    }

    /// Puts a new origin secret before the ones there are, in the key file and here.
    pub(crate) fn rotate_origin(&mut self) -> Result<()> {
        let mut changed = self.collector("rotate the origin secret")?.clone();
        changed.origins.insert(0, secret());
        self.replace_collector(changed)
    }

    /// Writes whom to seal for into the collector's key file.
    pub(crate) fn set_recipients(&mut self, recipients: &Recipients) -> Result<()> {
        let mut changed = self.collector("change whom to seal for")?.clone();
        changed.recipients = recipients.clone();
        self.replace_collector(changed)
    }

    fn replace_collector(&mut self, changed: Collector) -> Result<()> {
        let path = self.path(Role::Collector);
        let aside = path.with_extension("aside");
        match std::fs::remove_file(&aside) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Disk { action: "remove", path: aside, source });
            }
            _ => {}
        }
        write_private(&aside, &changed.to_text())?;
        std::fs::rename(&aside, &path).map_err(Error::disk("move", &aside))?;
        self.collector = Some(changed);
        Ok(())
    }

    /// What stands for the owner of a credential: a keyed hash from which it cannot be found. None without the collector key.
    #[must_use]
    pub fn pseudonym(&self, credential: &[u8]) -> Option<String> {
        let hash = hash(self.collector.as_ref()?.origins.first()?, "credential", credential);
        Some(format!("key-{:032x}", u128::from_be_bytes(hash)))
    }

    pub(crate) fn collector(&self, action: &'static str) -> Result<&Collector> {
        self.collector.as_ref().ok_or_else(|| self.missing(Role::Collector, action))
    }

    /// The identities held that open a body sealed for `roles`; an error that names the first if there are none.
    pub(crate) fn identities(&self, roles: &[Role], action: &'static str) -> Result<Vec<&Identity>> {
        let held: Vec<_> = roles.iter().filter_map(|role| self.identity(*role)).collect();
        match (held.is_empty(), roles.first()) {
            (true, Some(role)) => Err(self.missing(*role, action)),
            _ => Ok(held),
        }
    }

    pub(crate) const fn identity(&self, role: Role) -> Option<&Identity> {
        match role {
            Role::Collector => None,
            Role::Curator => self.curator.as_ref(),
            Role::Trainer => self.trainer.as_ref(),
            Role::Auditor => self.auditor.as_ref(),
        }
    }

    fn missing(&self, role: Role, action: &'static str) -> Error {
        Error::MissingKey { role, path: self.path(role), action }
    }
}

fn read(folder: &Path, role: Role) -> Result<Option<String>> {
    let path = folder.join(role.file_name());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Disk { action: "read", path, source }),
    }
}

fn parse_collector(folder: &Path, text: &str) -> Result<Collector> {
    let path = folder.join(Role::Collector.file_name());
    Collector::parse(text).map_err(|problem| Error::BadKey { role: Role::Collector, path, problem })
}

/// A fresh identity is 32 bytes of the system's randomness; hashed, it is a secret of its own.
fn secret() -> [u8; 32] {
    let seed = Identity::generate().to_string();
    blake3::derive_key("slm-migrate 2026 origin hash", seed.expose_secret().as_bytes())
}

fn parse_identity(folder: &Path, role: Role, text: &str) -> Result<Identity> {
    let bad = |problem: &str| Error::BadKey { role, path: folder.join(role.file_name()), problem: problem.to_owned() };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.ok_or_else(|| bad("it holds no identity"))?.parse().map_err(bad)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(Error::disk("create", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::disk("write", path))
}
