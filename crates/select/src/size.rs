//! Sizes of memory as people write them.
use crate::Error;

/// Reads `8GiB`, `500 MB`, `1.5G` (as GiB) or a number of bytes.
///
/// # Errors
/// When the text is no size.
///
/// ```
/// assert_eq!(select::parse_size("8GiB")?, 8 << 30);
/// assert_eq!(select::parse_size("500 MB")?, 500_000_000);
/// assert_eq!(select::parse_size("1024")?, 1024);
/// assert!(select::parse_size("8 apples").is_err());
/// # Ok::<(), select::Error>(())
/// ```
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be finite, positive and below 2^63")]
pub fn parse_size(text: &str) -> Result<u64, Error> {
    let wrong = || Error::Size { got: text.to_owned() };
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    let unit = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0_f64.powi(2),
        "g" | "gib" => 1024.0_f64.powi(3),
        "t" | "tib" => 1024.0_f64.powi(4),
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(wrong()),
    };
    let bytes = number * unit;
    if bytes.is_finite() && (0.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// A size for people, with one decimal.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let gib = bytes as f64 / 1024.0_f64.powi(3);
    if gib >= 0.1 { format!("{gib:.1} GiB") } else { format!("{:.1} MiB", gib * 1024.0) }
}
