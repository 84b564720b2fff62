//! The step: which policy for which class, and what the project's own keys mean.
use std::collections::BTreeMap;

use record::Step;
use serde::{Deserialize, Serialize};

use crate::{Class, Error, Policy, Scrubber};

/// Replaces personal data and secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrub {
    /// What is done with a class that `classes` does not name.
    pub policy: Policy,
    /// What is done with a class.
    pub classes: BTreeMap<Class, Policy>,
    /// Further JSON keys and what their values are (`member_no = "name"`). Case and `_` do not matter.
    pub keys: BTreeMap<String, Class>,
    /// JSON keys whose values are never looked at.
    pub keep_keys: Vec<String>,
    /// With the conversation's id, what surrogates are derived from.
    pub seed: u64,
}

impl Step for Scrub {
    const NAME: &'static str = "scrub";
    const REVISION: u32 = 2;
}

impl Scrub {
    /// Prepares the step for work. The scrubber is shared by any number of threads.
    ///
    /// # Errors
    /// When a key is both kept and given a class.
    pub fn compile(&self) -> Result<Scrubber, Error> {
        Scrubber::new(self)
    }

    /// What is done with a class.
    #[must_use]
    pub fn policy_of(&self, class: Class) -> Policy {
        self.classes.get(&class).copied().unwrap_or(self.policy)
    }
}
