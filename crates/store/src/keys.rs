//! Key files: who may append, read raw calls, read clean calls, read the trail.
//!
//! Curator, trainer and auditor each have an ordinary age identity file. The collector's file holds the public halves
//! and the secret that hashes origins; with it alone calls can be appended and none can be read.
use std::io::Write;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};

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

/// The public halves: whom a body is sealed for.
#[derive(Clone)]
pub(crate) struct Recipients {
    pub curator: Recipient,
    pub trainer: Recipient,
    pub auditor: Recipient,
}

/// The public halves and the secret that hashes origins: the content of `collector.key`.
#[derive(Clone)]
pub(crate) struct Collector {
    pub recipients: Recipients,
    pub origin: [u8; 32],
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
        // A fresh identity is 32 bytes of the system's randomness; hashed, it is a secret of its own.
        let seed = Identity::generate().to_string();
        let origin = blake3::derive_key("slm-migrate 2026 origin hash", seed.expose_secret().as_bytes());
        let recipients = Recipients { curator: curator.to_public(), trainer: trainer.to_public(), auditor: auditor.to_public() };
        let collector = Collector { recipients, origin };
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
            collector: read(folder, Role::Collector)?.map(|text| Collector::parse(folder, &text)).transpose()?,
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

    /// What stands for the owner of a credential: a keyed hash from which it cannot be found. None without the collector key.
    #[must_use]
    pub fn pseudonym(&self, credential: &[u8]) -> Option<String> {
        let hash = self.collector.as_ref()?.hash_bytes("credential", credential);
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

impl Recipients {
    pub(crate) const fn of(&self, role: Role) -> Option<&Recipient> {
        match role {
            Role::Collector => None,
            Role::Curator => Some(&self.curator),
            Role::Trainer => Some(&self.trainer),
            Role::Auditor => Some(&self.auditor),
        }
    }
}

impl Collector {
    /// The keyed hash that stands for a personal value in a queryable column. `domain` keeps a user and a
    /// conversation of the same name apart.
    pub(crate) fn hash(&self, domain: &str, value: &str) -> [u8; 16] {
        self.hash_bytes(domain, value.as_bytes())
    }

    pub(crate) fn hash_bytes(&self, domain: &str, value: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.origin);
        hasher.update(domain.as_bytes()).update(&[0]).update(value);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        short
    }

    fn to_text(&self) -> String {
        format!(
            "# slm-migrate collector: appends calls and reads none. The origin secret hashes user and source ids.\n\
             curator {}\ntrainer {}\nauditor {}\norigin {}\n",
            self.recipients.curator,
            self.recipients.trainer,
            self.recipients.auditor,
            blake3::Hash::from_bytes(self.origin).to_hex()
        )
    }

    fn parse(folder: &Path, text: &str) -> Result<Self> {
        let bad = |problem: String| Error::BadKey { role: Role::Collector, path: folder.join(Role::Collector.file_name()), problem };
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(str::trim).ok_or_else(|| bad(format!("it has no line `{name} …`")))
        };
        let recipient = |name| field(name)?.parse().map_err(|problem: &str| bad(format!("line `{name}`: {problem}")));
        let origin = blake3::Hash::from_hex(field("origin")?).map_err(|problem| bad(format!("line `origin`: {problem}")))?;
        let recipients = Recipients { curator: recipient("curator")?, trainer: recipient("trainer")?, auditor: recipient("auditor")? };
        Ok(Self { recipients, origin: *origin.as_bytes() })
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
