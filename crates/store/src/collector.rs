//! What the collector's key file holds: whom to seal for, and the secrets that hash origins.
//!
//! Knows keys and their text; not where a file lies nor what is stored.
use age::x25519::Recipient;

use crate::Role;

/// The public halves: whom a body is sealed for. A role has one key or more.
#[derive(Clone, Default)]
pub struct Recipients {
    pub curator: Vec<Recipient>,
    pub trainer: Vec<Recipient>,
    pub auditor: Vec<Recipient>,
}

/// The roles that bodies are sealed for.
pub const SEALED_FOR: [Role; 3] = [Role::Curator, Role::Trainer, Role::Auditor];

/// The public halves and the secrets that hash origins: the content of `collector.key`.
#[derive(Clone)]
pub struct Collector {
    pub recipients: Recipients,
    /// Newest first. What is stored is hashed with the newest; the older ones still find what was stored before a rotation.
    pub origins: Vec<[u8; 32]>,
}

impl Recipients {
    pub fn of(&self, role: Role) -> &[Recipient] {
        match role {
            Role::Collector => &[],
            Role::Curator => &self.curator,
            Role::Trainer => &self.trainer,
            Role::Auditor => &self.auditor,
        }
    }

    pub const fn of_mut(&mut self, role: Role) -> Option<&mut Vec<Recipient>> {
        match role {
            Role::Collector => None,
            Role::Curator => Some(&mut self.curator),
            Role::Trainer => Some(&mut self.trainer),
            Role::Auditor => Some(&mut self.auditor),
        }
    }

    /// The public keys of a role as text, one after another.
    pub fn text_of(&self, role: Role) -> String {
        self.of(role).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`Recipients::text_of`] wrote.
    pub fn read(role: Role, text: &str) -> Result<Vec<Recipient>, String> {
        let keys = text.split_whitespace().map(|key| key.parse().map_err(|problem: &str| format!("`{key}`: {problem}")));
        let keys = keys.collect::<Result<Vec<Recipient>, String>>()?;
        if keys.is_empty() { Err(format!("no key of the {role}")) } else { Ok(keys) }
    }
}

impl Collector {
    /// The keyed hash that stands for a personal value in a queryable column. `domain` keeps a user and a
    /// conversation of the same name apart.
    pub fn hash(&self, domain: &str, value: &str) -> [u8; 16] {
        hash(&self.origins[0], domain, value.as_bytes())
    }

    /// The hashes a value may be stored under, the newest key's first.
    pub fn hashes<'a>(&'a self, domain: &'a str, value: &'a str) -> impl Iterator<Item = [u8; 16]> + 'a {
        self.origins.iter().map(move |key| hash(key, domain, value.as_bytes()))
    }

    /// A name of each secret that gives nothing away, newest first.
    pub fn marks(&self) -> Vec<String> {
        self.origins.iter().map(|key| blake3::keyed_hash(key, b"slm-migrate store").to_hex().to_string()).collect()
    }

    pub fn to_text(&self) -> String {
        let mut text = "# slm-migrate collector: appends calls and reads none. The origin secret hashes user and source ids.\n".to_owned();
        for role in SEALED_FOR {
            text += &format!("{role} {}\n", self.recipients.text_of(role));
        }
        for (at, key) in self.origins.iter().enumerate() {
            text += &format!("{} {}\n", if at == 0 { "origin" } else { "origin-before" }, blake3::Hash::from_bytes(*key).to_hex());
        }
        text
    }

    /// Reads a key file's text; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let values = |name: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            lines.map(|value| value.trim().to_owned()).collect()
        };
        let mut recipients = Recipients::default();
        for role in SEALED_FOR {
            let name = role.to_string();
            let line = values(&name).join(" ");
            let keys = Recipients::read(role, &line).map_err(|problem| format!("line `{name}`: {problem}"))?;
            if let Some(held) = recipients.of_mut(role) {
                *held = keys;
            }
        }
        let secret = |text: &String| blake3::Hash::from_hex(text).map(|hash| *hash.as_bytes()).map_err(|e| format!("line `origin`: {e}"));
        let newest = values("origin");
        if newest.len() != 1 {
            return Err("it has no line `origin …`".to_owned());
        }
        let origins = newest.iter().chain(&values("origin-before")).map(secret).collect::<Result<_, _>>()?;
        Ok(Self { recipients, origins })
    }
}

/// A keyed hash, short enough for an index of millions.
pub fn hash(key: &[u8; 32], domain: &str, value: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(domain.as_bytes()).update(&[0]).update(value);
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}
