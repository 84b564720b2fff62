//! Expands phrases from `phrases.txt`. Knows no task.
use std::collections::BTreeMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Values of one ticket by slot name.
pub type Slots = BTreeMap<&'static str, String>;

/// Symbols and the ways to say each.
#[derive(Debug)]
pub struct Grammar(BTreeMap<&'static str, Vec<&'static str>>);

impl Grammar {
    /// The grammar shipped beside this file.
    pub fn shipped() -> Self {
        let mut sections: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
        let mut current = "";
        for line in include_str!("phrases.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(name) => current = name,
                None => sections.entry(current).or_default().push(line),
            }
        }
        Self(sections)
    }

    /// One way to say `symbol`, its slots filled.
    ///
    /// # Panics
    /// On a symbol that neither the grammar nor the slots know: an error in `phrases.txt`.
    pub fn say(&self, symbol: &str, slots: &Slots, rng: &mut ChaCha8Rng) -> String {
        let ways = self.0.get(symbol).unwrap_or_else(|| panic!("phrases.txt has no `[{symbol}]`"));
        let line = ways[rng.random_range(0..ways.len())].replace("\\n", "\n");
        let mut text = String::new();
        let mut rest = line.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').expect("every slot of phrases.txt is closed");
            text.push_str(before);
            match slots.get(name) {
                Some(value) => text.push_str(value),
                None => text.push_str(&self.say(name, slots, rng)),
            }
            rest = tail;
        }
        text + rest
    }
}

/// Slips of the finger in at most two long lower-case words that are no value of the ticket.
pub fn with_typos(text: &str, slots: &Slots, rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for _ in 0..rng.random_range(1..3) {
        let at = rng.random_range(0..words.len());
        let word = &words[at];
        let plain = word.len() >= 5 && word.bytes().all(|b| b.is_ascii_lowercase());
        if plain && !slots.values().any(|value| value.contains(word.as_str())) {
            let mut bytes = word.clone().into_bytes();
            let spot = rng.random_range(1..bytes.len() - 2);
            if rng.random_bool(0.6) {
                bytes.swap(spot, spot + 1);
            } else {
                bytes.remove(spot);
            }
            words[at] = String::from_utf8(bytes).expect("the word was ASCII");
        }
    }
    words.join(" ")
}
