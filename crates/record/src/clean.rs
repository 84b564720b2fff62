//! Privacy as a type: text that has been scrubbed.
use std::ops::Deref;

use serde::Serialize;

use crate::{Call, Request};

/// A value that holds no personal data any more.
///
/// Only the scrubber makes one and only the store reads one back: clippy's `disallowed-methods` bans
/// [`Clean::vouch`] everywhere else, and there is no `Deserialize`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Clean<T>(T);

impl<T> Clean<T> {
    /// States that `value` is scrubbed. For `scrub` and `store` alone.
    pub const fn vouch(value: T) -> Self {
        Self(value)
    }

    /// The value, for a reader that has no use for the proof any more.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Clean<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl Clean<Call> {
    /// What a predictor or an assigner may see of the call: never the answer.
    #[must_use]
    pub const fn prompt(&self) -> Prompt<'_> {
        Prompt(&self.0)
    }
}

/// The asking half of a clean call. The answer cannot be reached through it.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a>(&'a Call);

impl<'a> Prompt<'a> {
    /// Identity of the call in its source.
    #[must_use]
    pub fn source_id(&self) -> &'a str {
        &self.0.source_id
    }

    /// The agent node that asks, if the log says.
    #[must_use]
    pub fn workload_id(&self) -> Option<&'a str> {
        self.0.workload_id.as_deref()
    }

    /// What is asked.
    #[must_use]
    pub const fn request(&self) -> &'a Request {
        &self.0.request
    }
}
