//! A moment in a log, in whatever form the log wrote it.
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A moment in milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// Reads a number by its magnitude: below 1e11 seconds, below 1e14 milliseconds, below 1e17
    /// microseconds, else nanoseconds.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any date a log holds fit in an i64")]
    pub fn from_number(value: f64) -> Option<Self> {
        let size = value.abs();
        let ms = match size {
            s if !s.is_finite() => return None,
            s if s < 1e11 => value * 1e3,
            s if s < 1e14 => value,
            s if s < 1e17 => value / 1e3,
            _ => value / 1e6,
        };
        Some(Self(ms.round() as i64))
    }

    /// Reads ISO 8601 with or without a zone (none means UTC), with `T` or a blank between date and
    /// time, or a number written as text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<f64>() {
            return Self::from_number(number);
        }
        if let Ok(stamp) = text.parse::<Timestamp>() {
            return Some(Self(stamp.as_millisecond()));
        }
        let civil: DateTime = text.parse().ok()?;
        let stamp = TimeZone::UTC.to_timestamp(civil).ok()?;
        Some(Self(stamp.as_millisecond()))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(stamp) => write!(f, "{stamp:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let time = match &value {
            serde_json::Value::Number(n) => n.as_f64().and_then(Self::from_number),
            serde_json::Value::String(s) => Self::parse(s),
            _ => None,
        };
        time.ok_or_else(|| D::Error::custom(format!("`{value}` is no time: expected RFC 3339 or an epoch number")))
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn all_written_forms_of_one_moment_agree() {
        let moment = Time(1_772_565_630_000);
        for text in ["2026-03-03T19:20:30Z", "2026-03-03T19:20:30", "2026-03-03 19:20:30.000000", "1772565630", "1772565630000"] {
            assert_eq!(Time::parse(text), Some(moment), "{text}");
        }
        assert_eq!(Time::from_number(1_772_565_630e9), Some(moment));
        assert_eq!(moment.to_string(), "2026-03-03T19:20:30.000Z");
        assert_eq!(Time::parse("yesterday"), None);
    }
}
