//! Finds personal data and secrets in one text by shape. Knows no key and no conversation.
use std::ops::Range;

use regex::Regex;

use crate::shapes::{Hints, SHAPES, Shape};
use crate::{Class, Method, names, surrogate};

/// One value in a text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub range: Range<usize>,
    /// What.
    pub class: Class,
    /// How it was found.
    pub method: Method,
}

/// A compiled shape.
struct Rule {
    shape: &'static Shape,
    regex: Regex,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.shape.class, self.shape.method)
    }
}

/// All shapes.
#[derive(Debug)]
pub struct Finder {
    rules: Vec<Rule>,
}

impl Finder {
    /// Compiles the shapes.
    pub fn new() -> Self {
        let compile = |shape: &'static Shape| Rule { shape, regex: Regex::new(shape.regex).expect("the shapes are constants and tested") };
        Self { rules: SHAPES.iter().map(compile).collect() }
    }

    /// Every value in a text, not overlapping, in order.
    pub fn find(&self, text: &str, secrets_only: bool) -> Vec<Found> {
        let hints = Hints::of(text);
        let mut found = Vec::new();
        for rule in self.rules.iter().filter(|rule| !secrets_only || rule.shape.class.is_secret()).filter(|rule| (rule.shape.needs)(&hints))
        {
            let mut at = 0;
            while let Some(hit) = rule.regex.find_at(text, at) {
                let taken =
                    (rule.shape.accept)(text, hit.range()).filter(|range| !surrogate::is_made_up(rule.shape.class, &text[range.clone()]));
                // A refused match may hide a good one that begins inside it.
                let next = text[hit.start()..].chars().next().map_or(1, char::len_utf8) + hit.start();
                at = taken.as_ref().map_or(next, |range| range.end.max(next));
                found.extend(taken.map(|range| Found { range, class: rule.shape.class, method: rule.shape.method }));
            }
        }
        if !secrets_only {
            let people = names::announced(text).into_iter().filter(|range| !surrogate::is_made_up(Class::Name, &text[range.clone()]));
            found.extend(people.map(|range| Found { range, class: Class::Name, method: Method::Context }));
        }
        settle(found)
    }
}

/// Keeps, of values that overlap, the one of the more dangerous class, then the surer method, then the longer.
pub fn settle(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|f| (!f.class.is_secret(), f.method, f.class, std::cmp::Reverse(f.range.len()), f.range.start));
    let mut kept: Vec<Found> = Vec::new();
    for candidate in found {
        if kept.iter().all(|other| candidate.range.end <= other.range.start || other.range.end <= candidate.range.start) {
            kept.push(candidate);
        }
    }
    kept.sort_by_key(|f| f.range.start);
    kept
}

/// The characters round a range.
pub fn around(text: &str, range: &Range<usize>) -> (Option<char>, Option<char>) {
    (text[..range.start].chars().next_back(), text[range.end..].chars().next())
}
