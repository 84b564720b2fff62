//! Identity of an artifact: what made it, how configured, from what.
use serde::{Deserialize, Serialize};

use crate::Step;

/// Hex of a 256-bit hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// Fingerprint of an artifact of `step`, made from `inputs`: name, revision, configuration and
    /// the inputs' fingerprints in the order given.
    #[must_use]
    pub fn of<S: Step>(step: &S, inputs: &[&Self]) -> Self {
        let settings = serde_json::to_vec(step).expect("a step's configuration is plain data, which always serialises");
        let mut hasher = blake3::Hasher::new();
        for part in [S::NAME.as_bytes(), &S::REVISION.to_le_bytes(), &settings] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        for input in inputs {
            hasher.update(&(input.0.len() as u64).to_le_bytes()).update(input.0.as_bytes());
        }
        Self(hasher.finalize().to_hex().to_string())
    }

    /// Fingerprint of bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).to_hex().to_string())
    }

    /// The first eight characters, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
