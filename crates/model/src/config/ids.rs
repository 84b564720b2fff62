//! Token ids as configurations write them: one or several. Knows no token.
use serde::{Deserialize, Serialize};

/// One token id or several, as `eos_token_id` is written.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    pub(crate) fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }

    /// As few as there are; nothing where there is none.
    pub(crate) fn of(mut ids: Vec<u32>) -> Option<Self> {
        match ids.len() {
            0 => None,
            1 => ids.pop().map(Self::One),
            _ => Some(Self::Many(ids)),
        }
    }
}
