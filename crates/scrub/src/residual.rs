//! The last look: is an original value still there? Knows nothing of how the output came about.
use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Serialize;

use crate::Class;
use crate::copies::{Target, bounded, targets};
use crate::document::{Document, encode};
use crate::keys::{Frame, Keys, Role};

/// A record that still holds an original value. The value itself is not told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leak {
    /// The record.
    pub source_id: String,
    /// What it still holds.
    pub class: Class,
    /// How it is written there: `raw`, `escaped` or `percent`.
    pub form: &'static str,
}

/// Every original value of a conversation in every form it may hide in.
#[derive(Debug)]
pub struct Residual {
    forms: Vec<(Target, &'static str)>,
    search: Option<AhoCorasick>,
}

impl Residual {
    /// Prepares the search.
    pub fn new(found: &BTreeSet<(Class, String)>, keep: &BTreeSet<String>) -> Self {
        let mut forms = Vec::new();
        for target in targets(found, keep) {
            let (once, percent) = (encode(&target.text, false), percent(&target.text));
            let (twice, ascii) = (encode(&once, false), encode(&target.text, true));
            let others = [("escaped", once), ("escaped", twice), ("escaped", ascii), ("percent", percent)];
            let mut written = BTreeSet::from([target.text.clone()]);
            for (form, text) in others {
                if written.insert(text.clone()) {
                    forms.push((Target { text, ..target.clone() }, form));
                }
            }
            forms.push((target, "raw"));
        }
        let search = (!forms.is_empty()).then(|| {
            let builder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(forms.iter().map(|(t, _)| &t.text));
            builder.expect("a conversation's values are far below the limits of the automaton")
        });
        Self { forms, search }
    }

    /// What the JSON text of a call still holds, keys included. Tool schemas and keys that the configuration keeps do not count.
    pub fn leaks(&self, text: &str, source_id: &str, keys: &Keys) -> Vec<Leak> {
        let Some(search) = &self.search else { return Vec::new() };
        let mut leaks = BTreeSet::new();
        let mut document = None;
        for hit in search.find_iter(text) {
            let (target, form) = &self.forms[hit.pattern().as_usize()];
            if !bounded(text, &hit.range(), target) {
                continue;
            }
            let (document, frames) = document.get_or_insert_with(|| {
                let document = Document::scan_valid(text);
                let frames = Keys::frames(&document, Frame::Protocol);
                (document, frames)
            });
            let index = document.leaves.partition_point(|leaf| leaf.range.end < hit.end());
            let inside = document.leaves.get(index).is_some_and(|leaf| leaf.range.start <= hit.start());
            let exempt = inside
                && match keys.role(document, frames, index) {
                    Role::Secrets => !target.class.is_secret(),
                    Role::Skip => frames[document.leaves[index].object] == Frame::Data,
                    Role::Search(_) => false,
                };
            if !exempt {
                leaks.insert(Leak { source_id: source_id.to_owned(), class: target.class, form });
            }
        }
        leaks.into_iter().collect()
    }
}

/// As in the query of an address (RFC 3986, unreserved characters stay).
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}
