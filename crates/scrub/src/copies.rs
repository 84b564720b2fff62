//! The values found in a conversation, looked for everywhere in it. Knows no shape and no key.
use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::find::{Found, around};
use crate::{Class, Method, names, surrogate};

/// One spelling to look for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The spelling.
    pub text: String,
    /// What it is.
    pub class: Class,
    /// Whether digits may follow (`mia_li` in `mia_li_3668`).
    pub stem: bool,
}

/// The values of a conversation.
#[derive(Debug)]
pub struct Copies {
    targets: Vec<Target>,
    search: Option<AhoCorasick>,
    keep: BTreeSet<String>,
}

/// All spellings of the values found: as written, names also by their parts and as the stem of a user name.
pub fn targets(found: &BTreeSet<(Class, String)>, keep: &BTreeSet<String>) -> Vec<Target> {
    let mut targets = BTreeSet::new();
    for (class, value) in found.iter().filter(|(class, value)| class.spreads() && value.chars().count() >= 2 && !keep.contains(value)) {
        let mut add = |text: String, stem: bool| {
            if !surrogate::is_made_up(*class, &text) && !keep.contains(&text) {
                targets.insert(Target { text, class: *class, stem });
            }
        };
        if *class != Class::Name {
            // A password may be a plain word, which elsewhere is only a word.
            let word = *class == Class::Password && !(value.len() >= 8 && value.bytes().any(|b| b.is_ascii_digit()));
            if value.chars().count() >= 4 && !word {
                add(value.clone(), false);
            }
            continue;
        }
        let words: Vec<&str> = names::words(value).into_iter().map(|r| &value[r]).filter(|w| !names::particle(w)).collect();
        if names::composite(value) {
            add(value.trim_end_matches(|c: char| !c.is_alphabetic()).to_owned(), true);
        } else if words.len() > 1 || names::stands_alone(value) {
            add(value.clone(), false);
        }
        for word in &words {
            let title: String = word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect();
            if names::stands_alone(&title) && title.chars().count() > 1 {
                add(title.to_uppercase(), false);
                add(title, false);
            }
        }
        if let [first, .., last] = words[..] {
            for between in ["_", ".", "-"] {
                add(format!("{}{between}{}", first.to_lowercase(), last.to_lowercase()), true);
            }
        }
    }
    targets.into_iter().collect()
}

/// Whether a hit stands alone, and is not a piece of a longer word or number. A JSON escape is no letter.
pub fn bounded(text: &str, range: &std::ops::Range<usize>, target: &Target) -> bool {
    let (before, after) = around(text, range);
    let escape = matches!(before, Some('n' | 't' | 'r')) && text[..range.start - 1].ends_with('\\');
    let front = escape || !before.is_some_and(char::is_alphanumeric);
    let back = if target.stem { !after.is_some_and(char::is_alphabetic) } else { !after.is_some_and(char::is_alphanumeric) };
    let joined = |c: Option<char>| c.is_some_and(|c| matches!(c, '-' | '_' | '.' | '/' | '#' | '$' | '€'));
    let beyond = || text[range.end..].chars().nth(1).is_some_and(char::is_alphanumeric);
    let zip = target.class != Class::Zip || !(joined(before) || joined(after) && beyond());
    front && back && zip
}

impl Copies {
    /// Prepares the search. Values that are in `keep` (tool names, choices of a schema) are never replaced.
    pub fn new(found: &BTreeSet<(Class, String)>, keep: BTreeSet<String>) -> Self {
        let targets = targets(found, &keep);
        let search = (!targets.is_empty()).then(|| {
            let builder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(targets.iter().map(|t| &t.text));
            builder.expect("a conversation's values are far below the limits of the automaton")
        });
        Self { targets, search, keep }
    }

    /// Whether a value has to stay.
    pub fn keeps(&self, text: &str) -> bool {
        self.keep.contains(text)
    }

    /// Every copy in a text.
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Found> + 'a {
        self.search.iter().flat_map(move |search| search.find_iter(text)).filter_map(move |hit| {
            let target = &self.targets[hit.pattern().as_usize()];
            let range = hit.range();
            bounded(text, &range, target).then_some(Found { range, class: target.class, method: Method::Copy })
        })
    }
}
