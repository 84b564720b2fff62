//! Made-up values: same shape, from ranges that belong to nobody, so that they are known again and left alone.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{Class, Policy, Scrub, checksum, names};

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
/// Words of an address that are no name.
const STREET_WORDS: &str = "street st avenue ave road rd lane ln drive dr court ct row terrace way place pl boulevard blvd square crescent close parkway pkwy circle highway \
    hwy trail alley apt apartment suite ste unit floor po box north south east west ne nw se sw th nd rd the of";

/// Hosts of made-up addresses (RFC 2606).
const HOSTS: [&str; 3] = ["example.com", "example.org", "example.net"];
const DUMMY: &str = "REDACTED";

/// Whether a word is a month, whole or as its first three letters.
pub fn month(word: &str) -> bool {
    word.len() >= 3 && MONTHS.iter().any(|m| m.eq_ignore_ascii_case(word) || m[..3].eq_ignore_ascii_case(word))
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn street_word(word: &str) -> bool {
    let word = word.to_lowercase();
    STREET_WORDS.split_ascii_whitespace().any(|entry| entry == word)
}

/// Whether a value is one that a scrubber put there: a surrogate, a dummy, a tag or a mask.
pub fn is_made_up(class: Class, text: &str) -> bool {
    if text.starts_with("[[") && text.ends_with("]]") || !text.chars().any(char::is_alphanumeric) {
        return true;
    }
    match class {
        Class::PrivateKey | Class::Jwt | Class::ApiKey | Class::Password => text.contains(DUMMY),
        Class::UrlCredentials => text == "user:password",
        Class::Email => {
            let host = text.rsplit('@').next().unwrap_or_default().to_lowercase();
            HOSTS.iter().any(|h| host == *h || host.ends_with(h) && host[..host.len() - h.len()].ends_with('.'))
                || host == "example"
                || host.ends_with(".example")
                || host.ends_with(".invalid")
        }
        Class::Phone => {
            let number = text.split(['x', 'e']).next().map(digits).unwrap_or_default();
            number.len() >= 7 && number[..number.len() - 2].ends_with("55501")
        }
        Class::Card => {
            let number = digits(text);
            number.starts_with("424242") || number.starts_with("378282") && number.len() == 15
        }
        Class::Iban => {
            let plain: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
            plain.get(4..8).is_some_and(|bank| bank.chars().all(|c| matches!(c, '0' | 'X' | 'x')))
        }
        Class::Ssn => digits(text).starts_with('9'),
        Class::Ip => !checksum::public_ip(text),
        Class::Zip => {
            let number = digits(text);
            let letters = text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            if letters.is_empty() {
                number.len() < 4 || number.starts_with("999")
            } else {
                letters.chars().all(|c| matches!(c, 'X' | 'Z' | 'x' | 'z'))
            }
        }
        Class::BirthDate => birth_date(text) == text,
        Class::Name | Class::City => {
            let mut words = names::words(text).into_iter().map(|r| &text[r]).filter(|w| !names::particle(w)).peekable();
            words.peek().is_some() && words.all(names::is_invented)
        }
        Class::Street => {
            let mut words = names::words(text).into_iter().map(|r| &text[r]).filter(|w| !street_word(w)).peekable();
            words.peek().is_none() || words.all(names::is_invented)
        }
    }
}

/// Endless numbers that depend on nothing but what they are for.
struct Dice(blake3::OutputReader);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        let mut eight = [0; 8];
        self.0.fill(&mut eight);
        u64::from_le_bytes(eight) % below
    }

    fn digit(&mut self, from: u64, to: u64) -> char {
        let digit = from + self.roll(to - from + 1);
        char::from_digit(u32::try_from(digit).expect("a digit"), 10).expect("a digit")
    }
}

/// What stands for what in one conversation.
#[derive(Debug)]
pub struct Vault<'s> {
    scrub: &'s Scrub,
    key: [u8; 32],
    /// Words and values that the conversation holds: no surrogate may be one of them.
    taken: BTreeSet<String>,
    /// Surrogate words of names by the word in lower case.
    words: HashMap<String, String>,
    /// Replacements by class and value as written.
    values: HashMap<(Class, String), String>,
    /// What a surrogate stands for, so that no two values share one.
    owners: HashMap<(Class, String), String>,
    tags: BTreeMap<(Class, String), usize>,
}

impl<'s> Vault<'s> {
    /// An empty vault for a conversation in which `taken` occur.
    pub fn new(scrub: &'s Scrub, conversation: &str, taken: BTreeSet<String>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("slm-migrate scrub surrogates");
        hasher.update(&scrub.seed.to_le_bytes()).update(conversation.as_bytes());
        let key = *hasher.finalize().as_bytes();
        Self { scrub, key, taken, words: HashMap::new(), values: HashMap::new(), owners: HashMap::new(), tags: BTreeMap::new() }
    }

    fn dice(&self, class: &str, canonical: &str, attempt: u64) -> Dice {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(class.as_bytes()).update(&[0]).update(&attempt.to_le_bytes()).update(canonical.as_bytes());
        Dice(hasher.finalize_xof())
    }

    /// What stands for a value. A number stays a number whatever the policy.
    pub fn number(&mut self, class: Class, written: &str) -> String {
        match self.scrub.policy_of(class) {
            Policy::Keep => written.to_owned(),
            _ => self.surrogate(class, written),
        }
    }

    /// What stands for a value in a text.
    pub fn replacement(&mut self, class: Class, written: &str) -> String {
        if let Some(known) = self.values.get(&(class, written.to_owned())) {
            return known.clone();
        }
        let new = match self.scrub.policy_of(class) {
            Policy::Keep => written.to_owned(),
            Policy::Mask => written.chars().map(|c| if c.is_alphanumeric() { '*' } else { c }).collect(),
            Policy::Tag => self.tag(class, written),
            Policy::Surrogate if class.is_secret() => dummy(class, written),
            Policy::Surrogate => self.surrogate(class, written),
        };
        self.values.insert((class, written.to_owned()), new.clone());
        new
    }

    fn tag(&mut self, class: Class, written: &str) -> String {
        let next = 1 + self.tags.keys().filter(|(other, _)| *other == class).count();
        let number = self.tags.entry((class, canonical(class, written))).or_insert(next);
        format!("[[{}_{number}]]", class.label().to_uppercase())
    }

    fn surrogate(&mut self, class: Class, written: &str) -> String {
        if matches!(class, Class::Name | Class::City | Class::Street) {
            return self.renamed(class, written);
        }
        let canonical = canonical(class, written);
        let mut new = String::new();
        for attempt in 0..64 {
            let mut dice = self.dice(class.label(), &canonical, attempt);
            new = match class {
                Class::Email => self.email(written, &mut dice),
                Class::Phone => phone(written, &mut dice),
                Class::Card => card(written, &mut dice),
                Class::Iban => iban(written, &mut dice),
                Class::Ssn => shaped(written, |place, _| match place {
                    0 => '9',
                    3 => '0',
                    _ => dice.digit(0, 9),
                }),
                Class::Ip => ip(written, &mut dice),
                Class::Zip => zip(written, &mut dice),
                _ => birth_date(written),
            };
            let owner = self.owners.entry((class, new.clone())).or_insert_with(|| canonical.clone());
            if class == Class::BirthDate || *owner == canonical && !self.taken.contains(&new) {
                break;
            }
        }
        new
    }

    /// Every word of a name replaced by a made-up one, the same for the same word, in the same case.
    fn renamed(&mut self, class: Class, written: &str) -> String {
        let mut new = String::with_capacity(written.len() + 8);
        let mut last = 0;
        for range in names::words(written) {
            let word = &written[range.clone()];
            let stays = names::is_invented(word) || if class == Class::Street { street_word(word) } else { names::particle(word) };
            if !stays {
                new.push_str(&written[last..range.start]);
                new.push_str(&like(word, &self.word(word)));
                last = range.end;
            }
        }
        new.push_str(&written[last..]);
        if class != Class::Street {
            return new;
        }
        let mut dice = self.dice(class.label(), &written.to_lowercase(), 0);
        shaped(&new, |_, first| dice.digit(u64::from(first), 9))
    }

    fn word(&mut self, word: &str) -> String {
        let lower = word.to_lowercase();
        if let Some(known) = self.words.get(&lower) {
            return known.clone();
        }
        let mut new = String::new();
        for attempt in 0..64 {
            new = names::invented(self.dice("word", &lower, attempt).roll(names::POOL));
            let owner = self.owners.entry((Class::Name, new.to_lowercase())).or_insert_with(|| lower.clone());
            if *owner == lower && !self.taken.contains(&new) {
                break;
            }
        }
        self.words.insert(lower, new.clone());
        new
    }

    /// Keeps the parts of the address that are words of known names in step with those names.
    fn email(&self, written: &str, dice: &mut Dice) -> String {
        let local = written.split('@').next().unwrap_or_default().to_lowercase();
        let known = self
            .words
            .iter()
            .filter(|(word, _)| word.chars().count() > 2 && local.contains(word.as_str()))
            .max_by_key(|(word, _)| (word.len(), *word));
        let stem = known.map_or_else(|| names::invented(dice.roll(names::POOL)), |(_, new)| new.clone()).to_lowercase();
        let host = HOSTS[usize::try_from(dice.roll(3)).expect("three hosts")];
        format!("{stem}{}{}@{host}", dice.digit(1, 9), dice.digit(0, 9))
    }
}

/// What a value is, apart from how it is written.
fn canonical(class: Class, written: &str) -> String {
    match class {
        Class::Phone => {
            let all = digits(written);
            all[all.len().saturating_sub(10)..].to_owned()
        }
        Class::Card | Class::Ssn => digits(written),
        Class::Iban => written.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect(),
        _ => written.to_lowercase(),
    }
}

/// `new` in the case of `word`.
fn like(word: &str, new: &str) -> String {
    if word.chars().all(char::is_lowercase) {
        new.to_lowercase()
    } else if word.chars().all(char::is_uppercase) {
        new.to_uppercase()
    } else {
        new.to_owned()
    }
}

/// The text with each digit replaced; the closure is told which digit it is and whether it begins a number.
fn shaped(text: &str, mut digit: impl FnMut(usize, bool) -> char) -> String {
    let (mut place, mut inside) = (0, false);
    text.chars()
        .map(|c| {
            let first = !std::mem::replace(&mut inside, c.is_ascii_digit());
            if c.is_ascii_digit() {
                place += 1;
                digit(place - 1, first)
            } else {
                c
            }
        })
        .collect()
}

fn dummy(class: Class, written: &str) -> String {
    match class {
        Class::PrivateKey => "-----BEGIN PRIVATE KEY-----\nREDACTED\n-----END PRIVATE KEY-----".to_owned(),
        Class::UrlCredentials => "user:password".to_owned(),
        Class::Jwt => "eyJ.REDACTED.REDACTED".to_owned(),
        Class::ApiKey => {
            let head: String = written.chars().take_while(|c| !c.is_ascii_digit()).take(8).collect();
            let known = [
                "sk-ant-", "sk-proj-", "sk-", "AKIA", "ASIA", "ghp_", "gho_", "ghs_", "xoxb-", "xoxp-", "AIza", "sk_live_", "sk_test_",
                "glpat-", "hf_", "npm_", "SG.",
            ];
            format!("{}{DUMMY}", known.iter().find(|k| head.starts_with(*k)).unwrap_or(&"KEY_"))
        }
        _ => DUMMY.to_owned(),
    }
}

/// Country code and signs stay; the number ends in 555-01xx, which is kept for fiction.
fn phone(written: &str, dice: &mut Dice) -> String {
    let main = written.split(['x', 'e']).next().unwrap_or_default();
    let count = digits(main).len();
    let code = if written.starts_with('+') { count.saturating_sub(10).clamp(1, 2) } else { 0 };
    let olds: Vec<char> = digits(written).chars().collect();
    shaped(written, |place, _| match count.saturating_sub(place) {
        left if left > 7 && place < code => olds[place],
        left if left > 7 => dice.digit(2, 9),
        5..=7 => '5',
        4 => '0',
        3 => '1',
        1 | 2 => dice.digit(0, 9),
        _ => dice.digit(1, 9),
    })
}

/// A number of a test range with a right Luhn digit.
fn card(written: &str, dice: &mut Dice) -> String {
    let count = digits(written).len();
    let head = if count == 15 { "378282" } else { "424242" };
    let mut number: String = head.chars().chain(std::iter::repeat_with(|| dice.digit(0, 9))).take(count.saturating_sub(1)).collect();
    let last = ('0'..='9').find(|c| checksum::luhn(&format!("{number}{c}"))).expect("one of ten digits satisfies Luhn's check");
    number.push(last);
    let number: Vec<char> = number.chars().collect();
    shaped(written, |place, _| number[place])
}

/// Country and shape stay; the bank is one that does not exist; the check digits are right.
fn iban(written: &str, dice: &mut Dice) -> String {
    let plain: Vec<char> = written.chars().filter(|c| c.is_alphanumeric()).collect();
    let body: String = plain
        .iter()
        .enumerate()
        .skip(4)
        .map(|(i, c)| match (i < 8, c.is_ascii_digit()) {
            (true, true) => '0',
            (_, false) => 'X',
            (false, true) => dice.digit(0, 9),
        })
        .collect();
    let country: String = plain.iter().take(2).flat_map(|c| c.to_uppercase()).collect();
    let check = 98 - checksum::mod97(&format!("{country}00{body}"));
    let mut new = format!("{}{check:02}{body}", plain.iter().take(2).collect::<String>()).chars().collect::<Vec<_>>().into_iter();
    written.chars().map(|c| if c.is_alphanumeric() { new.next().unwrap_or(c) } else { c }).collect()
}

fn ip(written: &str, dice: &mut Dice) -> String {
    if written.contains(':') {
        return format!("2001:db8::{:x}:{:x}", 1 + dice.roll(65_000), 1 + dice.roll(65_000));
    }
    let net = ["192.0.2", "198.51.100", "203.0.113"][usize::try_from(dice.roll(3)).expect("three nets")];
    format!("{net}.{}", 1 + dice.roll(254))
}

/// Five digits become 999xx, which no post office has; letters become X and Z.
fn zip(written: &str, dice: &mut Dice) -> String {
    let letters = written.chars().any(char::is_alphabetic);
    let new = shaped(written, |place, _| match place {
        0..3 if !letters => '9',
        3 if !letters => dice.digit(6, 9),
        _ => dice.digit(0, 9),
    });
    new.chars()
        .map(|c| {
            if !c.is_alphabetic() {
                c
            } else if dice.roll(2) == 0 {
                'X'
            } else {
                'Z'
            }
        })
        .collect()
}

/// The first of January of the same year, written alike.
fn birth_date(written: &str) -> String {
    let runs: Vec<&str> = written.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).collect();
    if let Some(word) = written.split(|c: char| !c.is_alphabetic()).find(|word| month(word)) {
        let year = runs.iter().find(|run| run.len() == 4).copied().unwrap_or("1980");
        return if written.starts_with(word) { format!("January 1, {year}") } else { format!("1 January {year}") };
    }
    let years: Vec<bool> = runs.iter().map(|run| run.len() == 4).collect();
    let olds: Vec<char> = digits(written).chars().collect();
    let (mut run, mut begun) = (0, false);
    shaped(written, |place, first| {
        if first && std::mem::replace(&mut begun, true) {
            run += 1;
        }
        if years.get(run) == Some(&true) {
            return olds[place];
        }
        let length: usize = runs[..=run].iter().map(|r| r.len()).sum();
        if place + 1 == length { '1' } else { '0' }
    })
}
