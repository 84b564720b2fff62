//! How one argument or field is compared.
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::{standard, words_f1};

/// A way to compare, written as text in the configuration: `exact`, `bfcl`, `ci`, `numeric:0.01`,
/// `set`, `contains`, `words:0.8`, `regex:^A-\d+$`, `ignore`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mode {
    /// Equal after Unicode NFC and trimming.
    #[default]
    Exact,
    /// Equal after the string rule of the Berkeley Function Calling Leaderboard: blanks and `,./-_*^`
    /// removed, lower case. It takes `1.5` for `15`, so it is never the default.
    Bfcl,
    /// Equal but for case.
    CaseInsensitive,
    /// Numbers, or texts that are numbers, within a relative tolerance.
    Numeric(f64),
    /// Arrays in any order.
    Set,
    /// The answer's text contains the logged one.
    Contains,
    /// F1 over words of at least this, every word with a digit in both. Words, not meaning.
    Words(f64),
    /// The answer matches a regular expression, whatever the log says.
    Regex(Box<regex::Regex>),
    /// Not compared.
    Ignore,
}

/// A mode that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no way to compare: {problem}")]
pub struct ModeError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let wrong = |problem: String| ModeError { text: text.to_owned(), problem };
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let number = |otherwise: f64| match rest {
            None => Ok(otherwise),
            Some(rest) => rest
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n >= 0.0)
                .ok_or_else(|| wrong("expected a number from 0".into())),
        };
        match (name.trim(), rest) {
            ("exact", None) => Ok(Self::Exact),
            ("bfcl", None) => Ok(Self::Bfcl),
            ("ci", None) => Ok(Self::CaseInsensitive),
            ("set", None) => Ok(Self::Set),
            ("contains", None) => Ok(Self::Contains),
            ("ignore", None) => Ok(Self::Ignore),
            ("numeric", _) => number(1e-6).map(Self::Numeric),
            ("words", _) => number(0.8).map(Self::Words),
            ("regex", Some(pattern)) => {
                regex::Regex::new(pattern).map(|r| Self::Regex(Box::new(r))).map_err(|error| wrong(error.to_string()))
            }
            _ => Err(wrong("expected exact, bfcl, ci, numeric:TOLERANCE, set, contains, words:F1, regex:PATTERN or ignore".into())),
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = ModeError;
    fn try_from(text: String) -> Result<Self, ModeError> {
        text.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Bfcl => f.write_str("bfcl"),
            Self::CaseInsensitive => f.write_str("ci"),
            Self::Numeric(tolerance) => write!(f, "numeric:{tolerance}"),
            Self::Set => f.write_str("set"),
            Self::Contains => f.write_str("contains"),
            Self::Words(least) => write!(f, "words:{least}"),
            Self::Regex(pattern) => write!(f, "regex:{pattern}"),
            Self::Ignore => f.write_str("ignore"),
        }
    }
}

impl PartialEq for Mode {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Mode {
    /// Whether two texts are equal in this mode.
    pub(crate) fn texts(&self, expected: &str, got: &str) -> bool {
        match self {
            Self::Exact | Self::Set => standard(expected) == standard(got),
            Self::Bfcl => bfcl(expected) == bfcl(got),
            Self::CaseInsensitive => standard(expected).to_lowercase() == standard(got).to_lowercase(),
            Self::Numeric(tolerance) => match (expected.trim().parse::<f64>(), got.trim().parse::<f64>()) {
                (Ok(a), Ok(b)) => near(a, b, *tolerance),
                _ => standard(expected) == standard(got),
            },
            Self::Contains => standard(got).contains(&standard(expected)),
            Self::Words(least) => digits(expected) == digits(got) && words_f1(expected, got) >= *least,
            Self::Regex(pattern) => pattern.is_match(got),
            Self::Ignore => true,
        }
    }
}

/// Whether two numbers are equal within a relative tolerance.
pub(crate) fn near(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

fn bfcl(text: &str) -> String {
    let kept = text.chars().filter(|c| !matches!(c, ' ' | ',' | '.' | '/' | '-' | '_' | '*' | '^'));
    kept.collect::<String>().to_lowercase().replace('\'', "\"")
}

/// The words that hold a digit, sorted: amounts, dates and identifiers must not differ.
fn digits(text: &str) -> Vec<&str> {
    let mut words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.contains(|c: char| c.is_ascii_digit())).collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::Mode;

    fn mode(text: &str) -> Mode {
        text.parse().expect("a mode")
    }

    #[test]
    fn modes_compare_as_named() {
        assert!(mode("exact").texts(" Cafe\u{301}", "Caf\u{e9} "));
        assert!(!mode("exact").texts("1.5", "15") && mode("bfcl").texts("1.5", "15"));
        assert!(mode("ci").texts("Berlin", "BERLIN"));
        assert!(mode("numeric:0.01").texts("100", "100.5") && !mode("numeric:0.001").texts("100", "100.5"));
        assert!(mode("contains").texts("A-17", "order A-17") && !mode("contains").texts("order A-17", "A-17"));
        assert!(mode("words:0.6").texts("please refund order 17 to the card", "refund the order 17 to card please now"));
        assert!(!mode("words:0.6").texts("please refund order 17 to the card", "please refund order 18 to the card"));
        assert!(mode("regex:^A-\\d+$").texts("anything", "A-9") && mode("ignore").texts("a", "b"));
    }

    #[test]
    fn modes_round_trip_and_reject_nonsense() {
        for text in ["exact", "bfcl", "ci", "numeric:0.5", "set", "contains", "words:0.8", "regex:a:b", "ignore"] {
            assert_eq!(mode(text).to_string(), text);
        }
        for text in ["", "regex:(", "numeric:x", "exact:1", "fuzzy", "numeric:-1"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }
}
