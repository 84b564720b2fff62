//! Personal data and secrets to plant: fake, with valid shapes and checksums. Knows no message.
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// One value that a scrubber has to find, or has to leave alone (`class` = `keep`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Planted {
    /// Conversation it was planted in.
    pub conversation_id: String,
    /// What it is.
    pub class: &'static str,
    /// The value as written.
    pub value: String,
}

fn pick(letters: &[u8], length: usize, rng: &mut ChaCha8Rng) -> String {
    (0..length).map(|_| char::from(letters[rng.random_range(0..letters.len())])).collect()
}

const ALNUM: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const DIGITS: &[u8] = b"0123456789";

/// A phone number of a range kept for fiction.
pub fn phone(rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..4) {
        0 => format!("+44 20 7946 0{}", pick(DIGITS, 3, rng)),
        1 => format!("+44 7700 900{}", pick(DIGITS, 3, rng)),
        2 => format!("+49 30 23125 {}", pick(DIGITS, 3, rng)),
        _ => format!("(212) 555-{}{}", rng.random_range(2..9), pick(DIGITS, 3, rng)),
    }
}

/// A card number with a right Luhn digit.
pub fn card(rng: &mut ChaCha8Rng) -> String {
    let mut digits: Vec<u32> = if rng.random_bool(0.5) { vec![4, 5, 3, 9] } else { vec![5, 1, 0, 5] };
    digits.extend((0..11).map(|_| rng.random_range(0..10_u32)));
    let sum: u32 = digits.iter().rev().enumerate().map(|(i, d)| if i % 2 == 0 { d * 2 / 10 + d * 2 % 10 } else { *d }).sum();
    digits.push((10 - sum % 10) % 10);
    let text: String = digits.iter().map(|d| char::from_digit(*d, 10).expect("a decimal digit")).collect();
    if rng.random_bool(0.5) { text } else { [&text[..4], &text[4..8], &text[8..12], &text[12..]].join(" ") }
}

/// An IBAN with right check digits.
pub fn iban(rng: &mut ChaCha8Rng) -> String {
    let (country, body) = match rng.random_range(0..3) {
        0 => ("DE", pick(DIGITS, 18, rng)),
        1 => ("NL", format!("FENN{}", pick(DIGITS, 10, rng))),
        _ => ("GB", format!("FENN{}", pick(DIGITS, 14, rng))),
    };
    let mut rest = 0_u32;
    for c in format!("{body}{country}00").chars() {
        let value = c.to_digit(36).expect("an IBAN is letters and digits");
        rest = (rest * if value > 9 { 100 } else { 10 } + value) % 97;
    }
    let plain = format!("{country}{:02}{body}", 98 - rest);
    if rng.random_bool(0.5) {
        return plain;
    }
    let groups: Vec<&str> = plain.as_bytes().chunks(4).map(|chunk| std::str::from_utf8(chunk).expect("ASCII")).collect();
    groups.join(" ")
}

/// A US social security number of a valid area.
pub fn ssn(rng: &mut ChaCha8Rng) -> String {
    format!("{}-{:02}-{:04}", rng.random_range(701..772), rng.random_range(1..100), rng.random_range(1..10_000))
}

/// An address of a benchmark network (RFC 2544, RFC 5180).
pub fn ip(rng: &mut ChaCha8Rng) -> String {
    if rng.random_bool(0.7) {
        format!("198.{}.{}.{}", rng.random_range(18..20), rng.random_range(1..255), rng.random_range(1..255))
    } else {
        format!("2001:2:0:{:x}::{:x}", rng.random_range(16..65_535), rng.random_range(16..65_535))
    }
}

/// An address with a password in it; the value to hide is `user:password`.
pub fn url(rng: &mut ChaCha8Rng) -> (String, String) {
    let secret = format!("{}:{}", pick(b"abcdefghkmnprstuvw", 6, rng), pick(ALNUM, 10, rng));
    (format!("https://{secret}@files.fennmoor.test/{}.jpg", pick(DIGITS, 4, rng)), secret)
}

fn base64(bytes: &[u8]) -> String {
    const SET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(SET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// A signed token.
pub fn jwt(rng: &mut ChaCha8Rng) -> String {
    let payload = format!(r#"{{"sub":"{}","iat":17{}}}"#, pick(DIGITS, 6, rng), pick(DIGITS, 8, rng));
    format!("{}.{}.{}", base64(br#"{"alg":"HS256","typ":"JWT"}"#), base64(payload.as_bytes()), pick(ALNUM, 43, rng))
}

/// A key of one of the usual services.
pub fn api_key(rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..6) {
        0 => format!("sk-{}", pick(ALNUM, 48, rng)),
        1 => format!("AKIA{}", pick(UPPER, 16, rng)),
        2 => format!("ghp_{}", pick(ALNUM, 36, rng)),
        3 => format!("xoxb-{}-{}-{}", pick(DIGITS, 11, rng), pick(DIGITS, 12, rng), pick(ALNUM, 24, rng)),
        4 => format!("AIza{}", pick(ALNUM, 35, rng)),
        _ => format!("sk_live_{}", pick(ALNUM, 24, rng)),
    }
}

/// A private key block. The bytes are noise.
pub fn pem(rng: &mut ChaCha8Rng) -> String {
    let lines: Vec<String> = (0..3).map(|_| pick(ALNUM, 48, rng)).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", lines.join("\n"))
}
