//! A compiled step: finds values in one leaf. Shared by all threads.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::copies::Copies;
use crate::find::{Finder, Found, settle};
use crate::keys::{Keys, Role};
use crate::{Class, Error, Method, Policy, Scrub, names, surrogate};

/// Texts at least this long are remembered across conversations: system prompts come back thousands of times.
const LONG: usize = 512;
/// Texts remembered at most. What is found depends on the text alone, so a full memory costs time and nothing else.
const REMEMBERED: usize = 4_096;

/// The step, ready for work.
#[derive(Debug)]
pub struct Scrubber {
    pub(crate) scrub: Scrub,
    pub(crate) keys: Keys,
    finder: Finder,
    memory: RwLock<HashMap<[u8; 32], Arc<[Found]>>>,
}

impl Scrubber {
    pub(crate) fn new(scrub: &Scrub) -> Result<Self, Error> {
        Ok(Self { scrub: scrub.clone(), keys: Keys::new(scrub)?, finder: Finder::new(), memory: RwLock::default() })
    }

    /// What is to be replaced in a leaf, in order. `copies` are the values known of the conversation.
    pub(crate) fn look(&self, role: Role, text: &str, copies: Option<&Copies>) -> Vec<Found> {
        let kept = |found: &Found| self.scrub.policy_of(found.class) != Policy::Keep;
        let mut found = match role {
            Role::Skip => return Vec::new(),
            Role::Secrets => self.finder.find(text, true),
            Role::Search(Some(class)) if by_key(class, text) => {
                vec![Found { range: 0..text.len(), class, method: Method::Key }]
            }
            Role::Search(_) => self.shapes(text).to_vec(),
        };
        found.retain(kept);
        if let (Role::Search(_), Some(copies)) = (role, copies) {
            found.retain(|f| !copies.keeps(&text[f.range.clone()]));
            found.extend(copies.find(text));
            found = settle(found);
        }
        found
    }

    /// What a bare number is: what its key says, or a copy of a number long enough to be nothing else.
    pub(crate) fn numeric(&self, role: Role, raw: &str, copies: Option<&Copies>) -> Option<Class> {
        let class = match role {
            Role::Search(Some(class @ (Class::Phone | Class::Zip | Class::Ssn | Class::Card))) if by_key(class, raw) => class,
            Role::Search(_) => copies?.find(raw).find(|f| f.range == (0..raw.len()) && !copies_only_text(f.class)).map(|f| f.class)?,
            Role::Skip | Role::Secrets => return None,
        };
        (self.scrub.policy_of(class) != Policy::Keep).then_some(class)
    }

    fn shapes(&self, text: &str) -> Arc<[Found]> {
        if text.len() < LONG {
            return self.finder.find(text, false).into();
        }
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        if let Some(known) = self.memory.read().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Arc::clone(known);
        }
        let found: Arc<[Found]> = self.finder.find(text, false).into();
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        if memory.len() < REMEMBERED {
            memory.insert(hash, Arc::clone(&found));
        }
        found
    }
}

/// Whether a number that looks like a value of this class may be any number at all.
pub(crate) const fn copies_only_text(class: Class) -> bool {
    !matches!(class, Class::Phone | Class::Ssn | Class::Card)
}

/// Whether a value fits the class its key names, and is not made up already.
fn by_key(class: Class, text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let length = text.chars().count();
    let letters = text.chars().any(char::is_alphabetic);
    let fits = match class {
        Class::Name => names::plausible(text),
        Class::City => letters && digits == 0 && length <= 60,
        Class::Street => letters && length <= 120 && !text.contains('@') && !text.contains("://") && !text.starts_with(['{', '[']),
        Class::Phone => (7..=19).contains(&digits) && length <= 32,
        Class::Zip => digits >= 2 && (3..=10).contains(&length),
        Class::BirthDate => (4..=8).contains(&digits) && length <= 24,
        Class::Ssn => digits == 9,
        Class::Card => (12..=19).contains(&digits) && !letters,
        Class::Iban => (15..=42).contains(&length) && digits >= 8,
        Class::Password => length >= 4 && !text.contains(' '),
        _ => true,
    };
    fits && !surrogate::is_made_up(class, text)
}
