//! What scrub would replace in one text, as spans. Looks, and changes nothing.
use std::collections::BTreeSet;

use serde::Serialize;

use crate::conversation::DEPTH;
use crate::copies::Copies;
use crate::document::{Document, decode, origins};
use crate::find::Found;
use crate::keys::{Frame, Keys, Role};
use crate::{Class, Scrubber};

/// A value in a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// First character.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// The class.
    pub label: &'static str,
    /// How sure the method is, 0 to 1.
    pub score: f64,
    /// How it was found.
    pub method: &'static str,
}

impl Scrubber {
    /// What would be replaced in a text, in order, in characters. The text may be prose, a JSON document, or a whole
    /// call record on one line; JSON inside its strings is followed.
    pub fn detect(&self, text: &str) -> Vec<Span> {
        let record = text.starts_with('{') && text.contains("\"request\"") && text.contains("\"messages\"");
        let frame = if record { Frame::Protocol } else { Frame::Data };
        let mut first = Vec::new();
        self.spans(text, frame, None, 0, &mut first);
        let values: BTreeSet<(Class, String)> = first.iter().map(|(found, value)| (found.class, value.clone())).collect();
        let copies = Copies::new(&values, BTreeSet::new());
        let mut found = Vec::new();
        self.spans(text, frame, Some(&copies), 0, &mut found);
        found.sort_by_key(|(found, _)| found.range.start);
        let (mut chars, mut bytes) = (0, 0);
        let mut offset = |to: usize| {
            chars += text[bytes..to].chars().count();
            bytes = to;
            chars
        };
        let span = |(f, _): (Found, String)| Span {
            start: offset(f.range.start),
            end: offset(f.range.end),
            label: f.class.label(),
            score: f.method.score(),
            method: f.method.label(),
        };
        found.into_iter().map(span).collect()
    }

    /// Values with their place in `text` in bytes, and as decoded.
    fn spans(&self, text: &str, frame: Frame, copies: Option<&Copies>, depth: usize, out: &mut Vec<(Found, String)>) {
        let Some(document) = Document::scan(text) else {
            let found = self.look(Role::Search(None), text, copies);
            out.extend(found.into_iter().map(|f| (f.clone(), text[f.range].to_owned())));
            return;
        };
        let frames = Keys::frames(&document, frame);
        for (index, leaf) in document.leaves.iter().enumerate() {
            let role = self.keys.role(&document, &frames, index);
            let raw = document.raw(leaf);
            if role == Role::Skip || !leaf.string && self.numeric(role, raw, copies).is_none() {
                continue;
            }
            let decoded = decode(raw);
            let mut inner = Vec::new();
            if role == Role::Search(None) && depth < DEPTH {
                self.spans(&decoded, Frame::Data, copies, depth + 1, &mut inner);
            } else {
                inner.extend(self.look(role, &decoded, copies).into_iter().map(|f| (f.clone(), decoded[f.range].to_owned())));
            }
            let map = if decoded == raw { None } else { Some(origins(raw)) };
            let place = |at: usize| leaf.range.start + map.as_ref().map_or(at, |map| map[at]);
            out.extend(inner.into_iter().map(|(f, value)| (Found { range: place(f.range.start)..place(f.range.end), ..f }, value)));
        }
    }
}
