//! The last look: is an original value still there? Knows nothing of how the output came about.
use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Serialize;

use crate::Class;
use crate::copies::{Target, bounded, targets};
use crate::document::{Document, encode};
use crate::keys::{Frame, Keys, Role};
use crate::scrubber::copies_only_text;

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
                    Role::Skip => frames[document.leaves[index].object] == Frame::Data || !document.leaves[index].string,
                    Role::Search(_) => !document.leaves[index].string && copies_only_text(target.class),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Residual;
    use crate::keys::Keys;
    use crate::{Class, Scrub};

    #[test]
    fn a_leaky_rewriter_is_caught_in_every_form() {
        let keys = Keys::new(&Scrub::default()).expect("no key has two meanings");
        let values =
            [(Class::Email, "a\"b@mail.test"), (Class::Name, "Zoë Falk"), (Class::Phone, "+44 7700 900123"), (Class::Zip, "28236")];
        let found: BTreeSet<_> = values.iter().map(|(class, value)| (*class, (*value).to_owned())).collect();
        let residual = Residual::new(&found, &BTreeSet::new());
        let forms =
            |text: &str| -> Vec<(Class, &str)> { residual.leaks(text, "r", &keys).iter().map(|leak| (leak.class, leak.form)).collect() };
        for (text, class, form) in [
            (r#"{"x": "is a\"b@mail.test"}"#, Class::Email, "escaped"),
            (r#"{"x": "{\"y\": \"a\\\"b@mail.test\"}"}"#, Class::Email, "escaped"),
            (r#"{"x": "Hi\nZoë Falk"}"#, Class::Name, "raw"),
            (r#"{"x": "Zo\u00eb Falk"}"#, Class::Name, "escaped"),
            (r#"{"Falk": 1}"#, Class::Name, "raw"),
            (r#"{"x": "https://h.test/?q=%2B44%207700%20900123"}"#, Class::Phone, "percent"),
        ] {
            assert!(forms(text).contains(&(class, form)), "{text}: {:?}", forms(text));
        }
        assert_eq!(forms(r#"{"x": "FM-28236, Falkland", "n": 28236, "tools": ["Falk"]}"#), vec![]);
    }
}
