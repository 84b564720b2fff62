//! Values that documents copy: ids, names, dates, amounts, addresses, made from letters and syllables.
//!
//! There are far more of each than any model could remember, so the only way to predict the second
//! mention of one is to copy the first.
use serde::Deserialize;
use serde_json::{Number, Value};

use super::dice::Dice;

/// What kind of value a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A code of letters, digits and separators.
    Id,
    /// A person.
    Name,
    /// A made-up word.
    Word,
    /// A place.
    Place,
    /// A calendar day.
    Date,
    /// A time of day.
    Time,
    /// Money or a measure with its unit.
    Amount,
    /// A whole number.
    Count,
    /// A number with decimals.
    Decimal,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A file path.
    Path,
    /// A placeholder such as a scrubbed text has.
    Tag,
}

/// Every kind.
pub const KINDS: [Kind; 13] = [
    Kind::Id,
    Kind::Name,
    Kind::Word,
    Kind::Place,
    Kind::Date,
    Kind::Time,
    Kind::Amount,
    Kind::Count,
    Kind::Decimal,
    Kind::Email,
    Kind::Phone,
    Kind::Path,
    Kind::Tag,
];

const ONSETS: [&str; 40] = [
    "b", "br", "c", "ch", "d", "dr", "f", "fl", "fr", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p", "pr", "qu", "r", "s", "sh", "sk",
    "sl", "st", "t", "th", "tr", "v", "w", "y", "z", "", "", "m", "l", "r", "n",
];
const VOWELS: [&str; 24] =
    ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "a", "e", "i", "o", "a", "e", "i", "o", "ai", "ea", "ie", "ou", "é", "ö"];
const CODAS: [&str; 22] =
    ["", "", "", "", "n", "r", "l", "s", "t", "m", "nd", "rk", "x", "ck", "lt", "ss", "ng", "n", "r", "l", "ff", "nt"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const DIGITS: &str = "0123456789";

/// A pseudo-word of `syllables` syllables in lower case.
pub fn pseudo(dice: &mut Dice, syllables: usize) -> String {
    let mut word = String::new();
    for place in 0..syllables {
        word += dice.word(&ONSETS);
        word += dice.word(&VOWELS);
        if place + 1 == syllables || dice.chance(25) {
            word += dice.word(&CODAS);
        }
    }
    if word.len() < 3 { word + dice.word(&["ra", "ne", "lo", "dim"]) } else { word }
}

/// With a capital first letter.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

fn pseudo_name(dice: &mut Dice) -> String {
    let syllables = dice.between(1, 3);
    capital(&pseudo(dice, syllables))
}

/// Characters in a row. Every third row stutters: after `55` nobody knows what comes next who looks only for what followed
/// a 5 before, so such rows teach to keep count of the place.
fn run(dice: &mut Dice, letters: &str, low: usize, high: usize) -> String {
    let (n, stutters) = (dice.between(low, high), dice.chance(33));
    let mut row = String::new();
    for _ in 0..n {
        let said = row.chars().rev().nth(dice.weighted(&[3, 1]));
        row.push(said.filter(|_| stutters && dice.chance(50)).unwrap_or_else(|| dice.letter(letters)));
    }
    row
}

/// A value that is easily taken for `text`: one character of it doubled, left out or changed. None of very short ones.
pub fn kin(dice: &mut Dice, text: &str) -> Option<String> {
    let places: Vec<_> = text.char_indices().filter(|(_, c)| c.is_alphanumeric()).collect();
    if places.len() < 3 {
        return None;
    }
    let (at, c) = *dice.pick(&places);
    let (before, after) = (&text[..at], &text[at + c.len_utf8()..]);
    let changed = match dice.below(4) {
        0 => format!("{c}{c}"),
        1 => String::new(),
        _ if c.is_ascii_digit() => dice.letter(DIGITS).to_string(),
        _ if c.is_uppercase() => dice.letter(UPPER).to_string(),
        _ => pseudo(dice, 1),
    };
    Some(format!("{before}{changed}{after}"))
}

/// With two neighbouring letters of one word in each other's place, as hasty people write.
pub fn typo(dice: &mut Dice, text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let places: Vec<_> = (1..letters.len()).filter(|at| letters[at - 1..=*at].iter().all(|c| c.is_lowercase())).collect();
    if places.is_empty() {
        return text.to_owned();
    }
    let (mut letters, at) = (letters, *dice.pick(&places));
    letters.swap(at - 1, at);
    letters.into_iter().collect()
}

fn id(dice: &mut Dice) -> String {
    let separator = dice.word(&["-", "-", "-", "/", "_", ".", ""]);
    match dice.below(9) {
        0 => run(dice, DIGITS, 4, 9),
        1 => format!("{}{separator}{}", run(dice, UPPER, 1, 4), run(dice, DIGITS, 2, 7)),
        2 => format!("{}-{}-{}", run(dice, UPPER, 2, 3), run(dice, DIGITS, 2, 5), run(dice, UPPER, 1, 3)),
        3 => run(dice, "0123456789abcdef", 6, 12),
        4 => run(dice, "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", 5, 10),
        5 => format!("#{}", run(dice, DIGITS, 3, 7)),
        6 => format!("{}{separator}{}", run(dice, LOWER, 2, 4), run(dice, DIGITS, 2, 6)),
        7 => format!("{}{separator}{}{separator}{}", run(dice, UPPER, 1, 3), run(dice, DIGITS, 4, 4), run(dice, DIGITS, 3, 5)),
        _ => format!("{}-{}", pseudo(dice, 1), run(dice, DIGITS, 1, 4)),
    }
}

fn name(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => pseudo_name(dice),
        1 => format!("{}. {}", dice.letter(UPPER), pseudo_name(dice)),
        2 => format!("{} {}. {}", pseudo_name(dice), dice.letter(UPPER), pseudo_name(dice)),
        3 => format!("{} {}-{}", pseudo_name(dice), pseudo_name(dice), pseudo_name(dice)),
        _ => format!("{} {}", pseudo_name(dice), pseudo_name(dice)),
    }
}

fn place(dice: &mut Dice) -> String {
    let root = pseudo_name(dice);
    match dice.below(5) {
        0 => format!("{root} {}", dice.word(&["Bay", "Hill", "Bridge", "Road", "Gate", "Field", "Point", "Valley", "Square", "Mill"])),
        1 => format!("{}{}", root, dice.word(&["ton", "burg", "wick", "stad", "mouth", "dale", "holm"])),
        2 => format!("{} {root}", dice.word(&["North", "South", "East", "West", "Upper", "Lower", "New", "Old", "Port", "Lake"])),
        3 => format!("{} {} {}", run(dice, DIGITS, 1, 3), root, dice.word(&["Street", "Lane", "Road", "Way"])),
        _ => root,
    }
}

fn date(dice: &mut Dice) -> String {
    let (year, month, day) = (dice.between(1990, 2049), dice.between(1, 12), dice.between(1, 28));
    match dice.below(5) {
        0 => format!("{day} {} {year}", MONTHS[month - 1]),
        1 => format!("{} {day}", MONTHS[month - 1]),
        2 => format!("{day:02}.{month:02}.{year}"),
        _ => format!("{year}-{month:02}-{day:02}"),
    }
}

fn amount(dice: &mut Dice) -> String {
    let number = decimal(dice);
    match dice.below(6) {
        0 => format!("${number}"),
        1 => format!("€{number}"),
        2 => format!("{number} {}", dice.word(&["EUR", "USD", "CHF", "SEK", "GBP"])),
        3 => format!("{}%", dice.between(1, 99)),
        4 => format!("{},{:03} {}", dice.between(1, 99), dice.below(1000), dice.word(&["EUR", "km", "kg"])),
        _ => format!("{number} {}", dice.word(&["kg", "km", "mm", "litres", "hours", "°C", "V", "m", "g", "minutes"])),
    }
}

fn decimal(dice: &mut Dice) -> String {
    let whole = match dice.below(3) {
        0 => dice.below(10),
        1 => dice.below(100),
        _ => dice.below(2000),
    };
    if dice.chance(60) { format!("{whole}.{}{}", dice.below(10), dice.between(1, 9)) } else { format!("{whole}.{}", dice.between(1, 9)) }
}

fn phone(dice: &mut Dice) -> String {
    format!("+{} {} {}", run(dice, "123456789", 1, 2), run(dice, DIGITS, 2, 3), run(dice, DIGITS, 5, 7))
}

fn email(dice: &mut Dice) -> String {
    let dot = dice.word(&["", ".", "_", "-"]);
    let (user, rest, host) = (pseudo(dice, 1), pseudo(dice, 1), pseudo(dice, 2));
    format!("{user}{dot}{rest}@{host}.{}", dice.word(&["net", "org", "com", "example", "info"]))
}

fn path(dice: &mut Dice) -> String {
    let folders: Vec<_> = (0..dice.between(1, 3)).map(|_| pseudo(dice, 1)).collect();
    let file = pseudo(dice, 2);
    format!("/{}/{file}.{}", folders.join("/"), dice.word(&["txt", "csv", "md", "log", "json", "png"]))
}

fn tag(dice: &mut Dice) -> String {
    let what = dice.word(&["NAME", "PERSON", "ID", "MAIL", "PLACE", "CODE", "KEY", "ITEM", "DATE", "REF"]);
    let n = dice.between(1, 40);
    match dice.below(3) {
        0 => format!("[{what}_{n}]"),
        1 => format!("<{what}_{n}>"),
        _ => format!("[{}-{n}]", pseudo(dice, 1)),
    }
}

/// A value of a kind, as a text would write it.
pub fn text(dice: &mut Dice, kind: Kind) -> String {
    match kind {
        Kind::Id => id(dice),
        Kind::Name => name(dice),
        Kind::Word => {
            let syllables = dice.between(2, 3);
            pseudo(dice, syllables)
        }
        Kind::Place => place(dice),
        Kind::Date => date(dice),
        Kind::Time => format!("{:02}:{:02}", dice.below(24), dice.below(60)),
        Kind::Amount => amount(dice),
        Kind::Count => match dice.below(3) {
            0 => dice.between(2, 12).to_string(),
            1 => dice.between(10, 99).to_string(),
            _ => dice.between(100, 9999).to_string(),
        },
        Kind::Decimal => decimal(dice),
        Kind::Email => email(dice),
        Kind::Phone => phone(dice),
        Kind::Path => path(dice),
        Kind::Tag => tag(dice),
    }
}

/// The JSON value of a written one: a number where it is nothing but a number.
pub fn json(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Count | Kind::Decimal => serde_json::from_str::<Number>(text).map_or_else(|_| text.into(), Value::Number),
        _ => Value::from(text),
    }
}
