//! Durations with a unit: `"250ms"`. A bare number is an error, because its unit is not visible.
//!
//! Use it as `#[serde(with = "bff_config::duration")]`. Use [`some`] for a duration that must be more than zero, and
//! [`option`] with `default` for one that may be absent.

use std::fmt;
use std::time::Duration;

use humantime::DurationError;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Parses `"250ms"`, `"1.5s"`, `"5m"`, `"1h 30m"`, `"2d"`, `"500us"` or `"20ns"`. The error is a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.contains('M') {
        // `humantime` reads "5M" as five months.
        return Err("a duration has units in lower case: \"5m\"".to_owned());
    }
    humantime::parse_duration(text).map_err(|error| match error {
        DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
            format!("a duration needs a unit: \"{}ms\"", text.trim())
        }
        DurationError::UnknownUnit { .. } => {
            "unknown unit of time: use d, h, m, s, ms, us or ns, as in \"250ms\"".to_owned()
        }
        DurationError::NumberOverflow => {
            "this duration is too long, or finer than a nanosecond".to_owned()
        }
        _ => "a duration is a number and a unit: \"250ms\"".to_owned(),
    })
}

/// Reads a duration with its unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationVisitor)
}

/// Writes a duration with its unit: `250ms`, `1m 30s`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// A duration that must be more than zero.
pub mod some {
    use std::time::Duration;

    use serde::de::{Deserializer, Error};

    pub use super::serialize;

    /// Reads a duration of more than zero with its unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match super::deserialize(deserializer)? {
            Duration::ZERO => Err(D::Error::custom("a duration must be more than 0 here")),
            duration => Ok(duration),
        }
    }
}

/// A duration that may be absent: `#[serde(default, with = "bff_config::duration::option")]`.
pub mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct WithUnit(#[serde(with = "super")] Duration);

    /// Reads a duration with its unit, or `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let duration = Option::<WithUnit>::deserialize(deserializer)?;
        Ok(duration.map(|WithUnit(duration)| duration))
    }

    /// Writes a duration with its unit, or `None`.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(WithUnit).serialize(serializer)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit: \"250ms\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::value::{Error as ValueError, StrDeserializer};

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("250ms", Duration::from_millis(250)),
            ("10s", Duration::from_secs(10)),
            ("1.5s", Duration::from_millis(1500)),
            ("0.25ms", Duration::from_micros(250)),
            ("5m", Duration::from_secs(300)),
            ("1h", Duration::from_secs(3600)),
            ("2d", Duration::from_secs(172_800)),
            ("1h 30m", Duration::from_secs(5400)),
            ("500us", Duration::from_micros(500)),
            ("20ns", Duration::from_nanos(20)),
            (" 0s ", Duration::ZERO),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_error_contains_the_correct_form() {
        let form = "a duration is a number and a unit: \"250ms\"";
        let units = "unknown unit of time: use d, h, m, s, ms, us or ns, as in \"250ms\"";
        let range = "this duration is too long, or finer than a nanosecond";
        for (text, why) in [
            ("250", "a duration needs a unit: \"250ms\""),
            ("1.5", "a duration needs a unit: \"1.5ms\""),
            ("-5s", form),
            ("", form),
            ("ms", form),
            (".5s", form),
            ("1.s", form),
            ("1.2.3s", form),
            ("soon", form),
            ("5fortnights", units),
            ("5S", units),
            ("5M", "a duration has units in lower case: \"5m\""),
            ("0.5ns", range),
            ("0.00000000000000001d", range),
            ("99999999999999999999s", range),
            ("300000000000000d", range),
        ] {
            assert_eq!(parse_duration(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn zero_is_an_error_where_it_must_be_more() {
        let read = |text: &str| some::deserialize(StrDeserializer::<ValueError>::new(text));
        assert_eq!(read("1ns"), Ok(Duration::from_nanos(1)));
        let error = ValueError::custom("a duration must be more than 0 here");
        assert_eq!(read("0ms"), Err(error));
    }

    proptest! {
        #[test]
        fn a_written_duration_is_read_back(seconds: u64, nanos in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            let text = humantime::format_duration(duration).to_string();
            prop_assert_eq!(parse_duration(&text), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9.]{0,50}[a-z]{0,3}") {
            let _ = parse_duration(&text);
        }
    }
}
