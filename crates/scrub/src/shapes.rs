//! The shapes of personal data and secrets: one table, and what a match must satisfy beyond its shape.
use std::ops::Range;

use crate::find::around;
use crate::{Class, Method, checksum, surrogate};

use Class::{ApiKey, BirthDate, Card, Email, Iban, Ip, Jwt, Password, Phone, PrivateKey, Ssn, Street, UrlCredentials, Zip};
use Method::{Checksum, Context, Pattern};

/// A shape: what a text must hold at all, the shape, and what a match must satisfy (it may be narrowed).
pub struct Shape {
    /// What it is.
    pub class: Class,
    /// How sure the shape makes it.
    pub method: Method,
    /// What a text must hold for the shape to be tried.
    pub needs: fn(&Hints) -> bool,
    /// The shape as a regular expression. Word boundaries are those of ASCII: the others are slow on other text.
    pub regex: &'static str,
    /// The part of a match that is the value, if it is one.
    pub accept: Accept,
}

type Accept = fn(&str, Range<usize>) -> Option<Range<usize>>;

/// What one pass over the bytes tells.
pub struct Hints {
    digits: usize,
    at: bool,
    colons: usize,
    letters: bool,
    upper: bool,
}

impl Hints {
    /// Reads the text once.
    pub fn of(text: &str) -> Self {
        let mut hints = Self { digits: 0, at: false, colons: 0, letters: false, upper: false };
        for byte in text.bytes() {
            match byte {
                b'0'..=b'9' => hints.digits += 1,
                b'@' => hints.at = true,
                b':' => hints.colons += 1,
                b'A'..=b'Z' => (hints.upper, hints.letters) = (true, true),
                b'a'..=b'z' => hints.letters = true,
                _ => {}
            }
        }
        hints
    }
}

const fn shape(class: Class, method: Method, needs: fn(&Hints) -> bool, regex: &'static str, accept: Accept) -> Shape {
    Shape { class, method, needs, regex, accept }
}

const SERVICE_KEYS: &str = r"sk-(?:ant-|proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,}|(?:AKIA|ASIA|ABIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}|glpat-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{30,}|dop_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}|pplx-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{37}|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}|EAACEdEose0cBA[A-Za-z0-9]+|key-[a-f0-9]{32}|(?:AC|SK)[a-f0-9]{32}";

/// Every shape. Where values overlap, `find::settle` decides, not the order here.
pub const SHAPES: &[Shape] = &[
    shape(
        PrivateKey,
        Pattern,
        |h| h.upper,
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|\z)",
        whole,
    ),
    shape(UrlCredentials, Pattern, |h| h.at && h.colons > 0, r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:"'<>]*:[^\s/@"'<>]+@"#, credentials),
    shape(Jwt, Pattern, |h| h.upper, r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{10,}", apart),
    shape(ApiKey, Pattern, |h| h.letters, SERVICE_KEYS, apart),
    shape(
        Password,
        Context,
        |h| h.upper,
        r"(?-u:\b)(?:Bearer|Basic)\s+([A-Za-z0-9._~+/=-]{20,})",
        |t, r| tail(t, r, |c| !c.is_whitespace()),
    ),
    shape(
        Password,
        Context,
        |h| h.letters,
        r#"(?i)[?&](?:access_token|token|api_?key|key|sig|signature|secret|password|auth|code)=[^&\s"'<>#]{8,}"#,
        |t, r| tail(t, r, |c| c != '='),
    ),
    shape(
        Password,
        Context,
        |h| h.colons > 0 || h.letters,
        r#"(?i)(?-u:\b)(?:password|passwd|passphrase|api[_-]?key|client_secret|secret_key|access_token)["']?\s*(?:[:=]|(?-u:\b)is(?-u:\b))\s*["']?[^\s"',;]{6,}"#,
        password,
    ),
    shape(Card, Checksum, |h| h.digits >= 12, r"\d(?:[ -]?\d){11,18}", card),
    shape(Iban, Checksum, |h| h.digits >= 9, r"(?i)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}", iban),
    shape(Ssn, Checksum, |h| h.digits >= 9, r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}", ssn),
    shape(
        Ssn,
        Context,
        |h| h.digits >= 9,
        r"(?i)(?-u:\b)(?:ssn|social security)(?: number| no\.?)?(?: is|:|#)*\s*\d{9}",
        |t, r| tail(t, r, |c| c.is_ascii_digit()),
    ),
    shape(Email, Pattern, |h| h.at, r"[\p{L}\p{N}._%+'-]+@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,24}", email),
    shape(Ip, Checksum, |h| h.digits >= 4, r"\d{1,3}(?:\.\d{1,3}){3}", ip),
    shape(Ip, Checksum, |h| h.colons >= 2 && h.digits > 0, r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}", ip),
    shape(
        Phone,
        Pattern,
        |h| h.digits >= 7,
        r"\+\d{1,3}(?:[ .\u{a0}/-]?\(?\d{1,5}\)?){2,6}(?:\s?(?:x|ext\.?)\s?\d{1,5})?",
        |t, r| phone(t, r, 8),
    ),
    shape(
        Phone,
        Pattern,
        |h| h.digits >= 7,
        r"(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}(?:\s?(?:x|ext\.?)\s?\d{1,5})?",
        |t, r| phone(t, r, 10),
    ),
    shape(
        Phone,
        Context,
        |h| h.digits >= 7,
        r"(?i)(?-u:\b)(?:phone|call|calling|tel|telephone|mobile|cell|fax|whatsapp|text|dial|reach)(?-u:\b)(?:\s+(?:number|no\.?|me|us|back|on|at|is|under|my|or|cell|mobile|phone)(?-u:\b))*[ .:#]*\(?\d(?:[ ./()-]{0,2}\d){6,13}",
        phone_after,
    ),
    shape(
        BirthDate,
        Context,
        |h| h.digits >= 4,
        r"(?i)(?-u:\b)(?:born(?: on)?|date of birth|birth ?date|birthday|dob)\W{0,4}(?:is |was |on )?\W{0,3}(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}|(?:\d{1,2}(?:st|nd|rd|th)? )?[A-Z][a-z]{2,8}\.? (?:\d{1,2}(?:st|nd|rd|th)?,? )?\d{4})",
        birth,
    ),
    shape(
        Street,
        Pattern,
        |h| h.digits > 0 && h.upper,
        r"\d{1,5}[A-Za-z]? (?:(?:N|S|E|W|NE|NW|SE|SW)\.? )?(?:\p{Lu}[\p{L}'’]+ |\d{1,3}(?:st|nd|rd|th) ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Court|Ct|Row|Terrace|Way|Place|Pl|Boulevard|Blvd|Square|Crescent|Close|Parkway|Pkwy|Circle|Highway|Hwy|Trail|Alley)(?-u:\b)\.?(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Floor|#)\.? ?[A-Za-z0-9-]+)?",
        apart,
    ),
    shape(
        Zip,
        Context,
        |h| h.digits >= 5,
        r"(?i)(?-u:\b)(?:zip|zip ?code|postal code|postcode)(?: is|:)?\s+\d{5}(?:-\d{4})?",
        |t, r| tail(t, r, |c| c.is_ascii_digit() || c == '-'),
    ),
];

fn whole(_: &str, range: Range<usize>) -> Option<Range<usize>> {
    Some(range)
}

/// No letter or digit touches it.
fn apart(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let (before, after) = around(text, &range);
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    (!joined(before) && !joined(after)).then_some(range)
}

/// As a number of its own: not part of a longer number, an id or a word.
fn number(text: &str, range: &Range<usize>) -> bool {
    let (before, after) = around(text, range);
    let front = before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '+' | '.' | '#' | '$' | '€' | '£'));
    let beyond = text[range.end..].chars().nth(1);
    let back = after.is_none_or(|c| {
        !(c.is_alphanumeric()
            || c == '_'
            || c == '-' && beyond.is_some_and(char::is_alphanumeric)
            || matches!(c, '.' | ',') && beyond.is_some_and(|d| d.is_ascii_digit()))
    });
    front && back
}

/// The last run of characters for which `keep` holds.
fn tail(text: &str, range: Range<usize>, keep: fn(char) -> bool) -> Option<Range<usize>> {
    let start = text[range.clone()].char_indices().rev().take_while(|(_, c)| keep(*c)).last()?.0;
    Some(range.start + start..range.end)
}

fn credentials(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let start = range.start + text[range.clone()].find("://")? + 3;
    Some(start..range.end - 1)
}

fn password(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let inner = tail(text, range, |c| !c.is_whitespace() && !matches!(c, '"' | '\'' | '=' | ':'))?;
    // A word of a sentence is no password: there is a digit in it, or a sign.
    let value = &text[inner.clone()];
    (value.len() >= 6 && value.chars().any(|c| c.is_ascii_digit()) && value.chars().any(char::is_alphabetic)).then_some(inner)
}

fn card(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let ends = text[range.clone()].char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| range.start + at + 1);
    // The longest that holds: further digits may follow after a blank.
    let mut ends: Vec<usize> = ends.skip(11).collect();
    ends.reverse();
    ends.into_iter().map(|end| range.start..end).find(|range| {
        let digits: String = text[range.clone()].chars().filter(char::is_ascii_digit).collect();
        number(text, range) && checksum::card(&digits)
    })
}

fn iban(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let country = text[range.clone()].get(..2)?.to_uppercase();
    let mut left = checksum::iban_length(&country)?;
    let mut end = range.start;
    for (at, c) in text[range.clone()].char_indices() {
        if c.is_alphanumeric() {
            left -= 1;
            end = range.start + at + c.len_utf8();
        }
        if left == 0 {
            break;
        }
    }
    let plain: String = text[range.start..end].chars().filter(|c| c.is_alphanumeric()).collect();
    (left == 0 && checksum::mod97(&plain) == 1).then_some(range.start..end).and_then(|range| apart(text, range))
}

fn ssn(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let digits: String = text[range.clone()].chars().filter(char::is_ascii_digit).collect();
    (number(text, &range) && checksum::ssn(&digits)).then_some(range)
}

fn email(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let start = range.start + text[range.clone()].find(|c: char| !matches!(c, '.' | '\'' | '-' | '%' | '+'))?;
    let (before, after) = around(text, &(start..range.end));
    // `user:password@host` and `git@host:path` are addresses of machines; a piece of a refused match is none at all.
    let machine = before == Some(':') && text[..start].contains("://") || after == Some(':') && text[start..].starts_with("git@");
    (!machine && !before.is_some_and(char::is_alphanumeric)).then_some(start..range.end)
}

fn ip(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let (before, after) = around(text, &range);
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-'));
    let version =
        matches!(before, Some('.' | 'v')) || after == Some('.') && text[range.end + 1..].starts_with(|c: char| c.is_ascii_digit());
    let value = &text[range.clone()];
    let port = after == Some(':') && !value.contains(':');
    let meant =
        value.bytes().any(|b| b.is_ascii_digit()) && (!value.contains(':') || value.split(':').filter(|g| !g.is_empty()).count() >= 3);
    (!joined(before) && (port || !joined(after)) && !version && meant && checksum::public_ip(value)).then_some(range)
}

fn phone(text: &str, range: Range<usize>, least: usize) -> Option<Range<usize>> {
    let digits = text[range.clone()].bytes().filter(u8::is_ascii_digit).count();
    ((least..=19).contains(&digits) && number(text, &range)).then_some(range)
}

fn phone_after(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let inner = tail(text, range, |c| c.is_ascii_digit() || matches!(c, ' ' | '.' | '/' | '(' | ')' | '-'))?;
    let start = inner.start + text[inner.clone()].find(|c: char| c.is_ascii_digit() || c == '(')?;
    let date = text[start..inner.end]
        .split(['-', '/', '.'])
        .next()
        .is_some_and(|year| year.len() == 4 && (year.starts_with("19") || year.starts_with("20")));
    if date { None } else { phone(text, start..inner.end, 7) }
}

fn birth(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let value = &text[range.clone()];
    let year = value.len() - value.bytes().rev().take_while(u8::is_ascii_digit).count();
    // The date begins at its first digit or, where it begins with the month, at the capital after the last blank but two.
    let digit = value.find(|c: char| c.is_ascii_digit())?;
    let month = value[..digit.min(year)].trim_end().rfind(' ').map(|at| at + 1).filter(|at| {
        let word = value[*at..digit].trim_end_matches(['.', ' ']);
        surrogate::month(word)
    });
    Some(range.start + month.unwrap_or(digit)..range.end)
}
