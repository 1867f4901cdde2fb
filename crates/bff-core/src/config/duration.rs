//! Time in a configuration file: a number and its unit, `"250ms"`. A bare number is refused, because nobody can
//! tell seconds from milliseconds by looking at it.
//!
//! Use as `#[serde(with = "crate::config::duration")]`, [`some`] for a time in which something has to be done, or
//! [`option`] with `default` for a time that may be absent.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Every unit and its nanoseconds, largest first.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `"250ms"`, `"10s"`, `"1.5s"`, `"5m"`, `"1h"`, `"2d"`, `"500us"`, `"20ns"`. The error is a sentence without the
/// text itself.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("a duration cannot be negative".to_owned());
    }
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err("a duration is a number and a unit: \"250ms\"".to_owned());
    }
    if unit.is_empty() {
        return Err(without_unit(number));
    }
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(
            "unknown unit of time: use d, h, m, s, ms, us or ns, as in \"250ms\"".to_owned(),
        );
    };
    let too_long = || "this duration is too long".to_owned();
    let whole: u128 = whole.parse().map_err(|_| too_long())?;
    let whole = whole.checked_mul(*nanos).ok_or_else(too_long)?;
    let total = whole
        .checked_add(part_of(*nanos, fraction)?)
        .ok_or_else(too_long)?;
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| too_long())?;
    let rest = u32::try_from(total % 1_000_000_000).map_err(|_| too_long())?;
    Ok(Duration::new(seconds, rest))
}

/// Reads a duration with its unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationVisitor)
}

/// Writes the largest unit that needs no fraction: 90 seconds are `90s`, 120 are `2m`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shortest(*duration))
}

/// The same for a time in which something has to be done: none at all would refuse everything.
pub mod some {
    use std::time::Duration;

    use serde::de::{Deserializer, Error};

    pub use super::serialize;

    /// Reads a duration of more than nothing with its unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match super::deserialize(deserializer)? {
            Duration::ZERO => Err(D::Error::custom("nothing can be done in no time at all")),
            some => Ok(some),
        }
    }
}

/// The same for a time that may be absent: `#[serde(default, with = "crate::config::duration::option")]`.
pub mod option {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    /// Reads a duration with its unit, or none.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_option(OptionVisitor)
    }

    /// Writes the shortest form, or none.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&super::shortest(*duration)),
            None => serializer.serialize_none(),
        }
    }

    struct OptionVisitor;

    impl<'de> Visitor<'de> for OptionVisitor {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            super::DurationVisitor.expecting(f)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
            super::deserialize(inner).map(Some)
        }
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration: \"250ms\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }
}

fn without_unit(number: &str) -> String {
    format!("a duration needs a unit: \"{number}ms\"")
}

/// The nanoseconds of `0.<digits>` of a unit.
fn part_of(nanos: u128, digits: &str) -> Result<u128, String> {
    let digits = digits.trim_end_matches('0');
    let too_fine = || "this duration is finer than a nanosecond".to_owned();
    if digits.is_empty() {
        return Ok(0);
    }
    // A day has 14 digits of nanoseconds; more decimals than that cannot come out even.
    if digits.len() > 14 {
        return Err(too_fine());
    }
    let numerator: u128 = digits.parse().map_err(|_| too_fine())?;
    let scale = digits.bytes().fold(1_u128, |scale, _| scale * 10);
    if (numerator * nanos).is_multiple_of(scale) {
        Ok(numerator * nanos / scale)
    } else {
        Err(too_fine())
    }
}

fn shortest(duration: Duration) -> String {
    let total = duration.as_nanos();
    if total == 0 {
        return "0s".to_owned();
    }
    for (name, nanos) in UNITS {
        if total.is_multiple_of(nanos) {
            return format!("{}{name}", total / nanos);
        }
    }
    format!("{total}ns")
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
            ("500us", Duration::from_micros(500)),
            ("20ns", Duration::from_nanos(20)),
            (" 0s ", Duration::ZERO),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        let grammar = "a duration is a number and a unit: \"250ms\"";
        let units = "unknown unit of time: use d, h, m, s, ms, us or ns, as in \"250ms\"";
        for (text, why) in [
            ("250", "a duration needs a unit: \"250ms\""),
            ("-5s", "a duration cannot be negative"),
            ("", grammar),
            ("ms", grammar),
            (".5s", grammar),
            ("1.s", grammar),
            ("1.2.3s", grammar),
            ("soon", grammar),
            ("5 s", units),
            ("5weeks", units),
            ("5S", units),
            ("0.5ns", "this duration is finer than a nanosecond"),
            (
                "0.00000000000000001d",
                "this duration is finer than a nanosecond",
            ),
            ("99999999999999999999s", "this duration is too long"),
            (
                "9999999999999999999999999999999999999999999s",
                "this duration is too long",
            ),
            ("300000000000000d", "this duration is too long"),
        ] {
            assert_eq!(parse_duration(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn some_time_is_more_than_none() {
        let read = |text: &str| some::deserialize(StrDeserializer::<ValueError>::new(text));
        assert_eq!(read("1ns"), Ok(Duration::from_nanos(1)));
        let refused = ValueError::custom("nothing can be done in no time at all");
        assert_eq!(read("0ms"), Err(refused));
    }

    #[test]
    fn the_largest_even_unit_is_written() {
        for (seconds, text) in [
            (0, "0s"),
            (90, "90s"),
            (120, "2m"),
            (7200, "2h"),
            (86_400, "1d"),
        ] {
            assert_eq!(shortest(Duration::from_secs(seconds)), text);
        }
        assert_eq!(shortest(Duration::from_micros(1500)), "1500us");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds: u64, nanos in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&shortest(duration)), Ok(duration));
        }

        #[test]
        fn even_units_are_read_back(count in 0_u64..100_000, unit in 0_usize..UNITS.len()) {
            let (name, nanos) = UNITS[unit];
            let expected = Duration::from_nanos(u64::try_from(u128::from(count) * nanos).unwrap());
            prop_assert_eq!(parse_duration(&format!("{count}{name}")), Ok(expected));
            prop_assert_eq!(parse_duration(&shortest(expected)), Ok(expected));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn nearly_a_duration_never_panics(text in "[0-9.]{0,50}[a-z]{0,3}") {
            let _ = parse_duration(&text);
        }
    }
}
