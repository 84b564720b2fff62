//! Finds personal data and secrets in one text by shape. Knows no key and no conversation.
use std::ops::Range;

use regex::Regex;

use crate::{Class, Method, checksum, names, surrogate};

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

/// A shape: what a text must hold at all, the shape, and what a match must satisfy (it may be narrowed).
struct Rule {
    class: Class,
    method: Method,
    needs: fn(&Hints) -> bool,
    shape: Regex,
    accept: fn(&str, Range<usize>) -> Option<Range<usize>>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.class, self.method)
    }
}

/// What one pass over the bytes tells.
struct Hints {
    digits: usize,
    at: bool,
    colons: usize,
    letters: bool,
    upper: bool,
}

impl Hints {
    fn of(text: &str) -> Self {
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

/// All shapes.
#[derive(Debug)]
pub struct Finder {
    rules: Vec<Rule>,
}

const SERVICE_KEYS: &str = r"sk-(?:ant-|proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,}|(?:AKIA|ASIA|ABIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}|glpat-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{30,}|dop_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}|pplx-[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{37}|sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}|EAACEdEose0cBA[A-Za-z0-9]+|key-[a-f0-9]{32}|(?:AC|SK)[a-f0-9]{32}";

impl Finder {
    /// Compiles the shapes.
    pub fn new() -> Self {
        use Class::{ApiKey, BirthDate, Card, Email, Iban, Ip, Jwt, Password, Phone, PrivateKey, Ssn, Street, UrlCredentials, Zip};
        use Method::{Checksum, Context, Pattern};
        let rule = |class, method, needs, shape: &str, accept| {
            let shape = Regex::new(shape).expect("the shapes are constants and tested");
            Rule { class, method, needs, shape, accept }
        };
        let dashes: fn(&Hints) -> bool = |h| h.upper;
        let digits9: fn(&Hints) -> bool = |h| h.digits >= 9;
        let digits7: fn(&Hints) -> bool = |h| h.digits >= 7;
        let rules = vec![
            rule(
                PrivateKey,
                Pattern,
                dashes,
                r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|\z)",
                whole,
            ),
            rule(
                UrlCredentials,
                Pattern,
                |h| h.at && h.colons > 0,
                r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:"'<>]*:[^\s/@"'<>]+@"#,
                credentials,
            ),
            rule(Jwt, Pattern, dashes, r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{10,}", apart),
            rule(ApiKey, Pattern, |h| h.letters, SERVICE_KEYS, apart),
            rule(Password, Context, dashes, r"\b(?:Bearer|Basic)\s+([A-Za-z0-9._~+/=-]{20,})", |t, r| tail(t, r, |c| !c.is_whitespace())),
            rule(
                Password,
                Context,
                |h| h.letters,
                r#"(?i)[?&](?:access_token|token|api_?key|key|sig|signature|secret|password|auth|code)=[^&\s"'<>#]{8,}"#,
                |t, r| tail(t, r, |c| c != '='),
            ),
            rule(
                Password,
                Context,
                |h| h.colons > 0 || h.letters,
                r#"(?i)\b(?:password|passwd|passphrase|api[_-]?key|client_secret|secret_key|access_token)["']?\s*(?:[:=]|\bis\b)\s*["']?[^\s"',;]{6,}"#,
                password,
            ),
            rule(Card, Checksum, |h| h.digits >= 12, r"\d(?:[ -]?\d){11,18}", card),
            rule(Iban, Checksum, digits9, r"(?i)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}", iban),
            rule(Ssn, Checksum, digits9, r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}", ssn),
            rule(Ssn, Context, digits9, r"(?i)\b(?:ssn|social security)(?: number| no\.?)?(?: is|:|#)*\s*\d{9}", |t, r| {
                tail(t, r, |c| c.is_ascii_digit())
            }),
            rule(Email, Pattern, |h| h.at, r"[\p{L}\p{N}._%+'-]+@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,24}", email),
            rule(Ip, Checksum, |h| h.digits >= 4, r"\d{1,3}(?:\.\d{1,3}){3}", ip),
            rule(Ip, Checksum, |h| h.colons >= 2 && h.digits > 0, r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}", ip),
            rule(Phone, Pattern, digits7, r"\+\d{1,3}(?:[ .\u{a0}/-]?\(?\d{1,5}\)?){2,6}(?:\s?(?:x|ext\.?)\s?\d{1,5})?", |t, r| {
                phone(t, r, 8)
            }),
            rule(
                Phone,
                Pattern,
                digits7,
                r"(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}(?:\s?(?:x|ext\.?)\s?\d{1,5})?",
                |t, r| phone(t, r, 10),
            ),
            rule(
                Phone,
                Context,
                digits7,
                r"(?i)\b(?:phone|call|calling|tel|telephone|mobile|cell|fax|whatsapp|text|dial|reach)\b(?:\s+(?:number|no\.?|me|us|back|on|at|is|under|my|or|cell|mobile|phone)\b)*[ .:#]*\(?\d(?:[ ./()-]{0,2}\d){6,13}",
                phone_after,
            ),
            rule(
                BirthDate,
                Context,
                |h| h.digits >= 4,
                r"(?i)\b(?:born(?: on)?|date of birth|birth ?date|birthday|dob)\W{0,4}(?:is |was |on )?\W{0,3}(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}|(?:\d{1,2}(?:st|nd|rd|th)? )?[A-Z][a-z]{2,8}\.? (?:\d{1,2}(?:st|nd|rd|th)?,? )?\d{4})",
                birth,
            ),
            rule(
                Street,
                Pattern,
                |h| h.digits > 0 && h.upper,
                r"\d{1,5}[A-Za-z]? (?:(?:N|S|E|W|NE|NW|SE|SW)\.? )?(?:\p{Lu}[\p{L}'’]+ |\d{1,3}(?:st|nd|rd|th) ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Court|Ct|Row|Terrace|Way|Place|Pl|Boulevard|Blvd|Square|Crescent|Close|Parkway|Pkwy|Circle|Highway|Hwy|Trail|Alley)\b\.?(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Floor|#)\.? ?[A-Za-z0-9-]+)?",
                apart,
            ),
            rule(
                Zip,
                Context,
                |h| h.digits >= 5,
                r"(?i)\b(?:zip|zip ?code|postal code|postcode)(?: is|:)?\s+\d{5}(?:-\d{4})?",
                |t, r| tail(t, r, |c| c.is_ascii_digit() || c == '-'),
            ),
        ];
        Self { rules }
    }

    /// Every value in a text, not overlapping, in order.
    pub fn find(&self, text: &str, secrets_only: bool) -> Vec<Found> {
        let hints = Hints::of(text);
        let mut found = Vec::new();
        for rule in self.rules.iter().filter(|rule| !secrets_only || rule.class.is_secret()).filter(|rule| (rule.needs)(&hints)) {
            let mut at = 0;
            while let Some(hit) = rule.shape.find_at(text, at) {
                let taken = (rule.accept)(text, hit.range()).filter(|range| !surrogate::is_made_up(rule.class, &text[range.clone()]));
                // A refused match may hide a good one that begins inside it.
                let next = text[hit.start()..].chars().next().map_or(1, char::len_utf8) + hit.start();
                at = taken.as_ref().map_or(next, |range| range.end.max(next));
                found.extend(taken.map(|range| Found { range, class: rule.class, method: rule.method }));
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
