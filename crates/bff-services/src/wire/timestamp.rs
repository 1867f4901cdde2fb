//! Points in time: RFC 3339 text over HTTP, Unix seconds over gRPC.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, Time};

/// A point in time. It displays as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// `seconds` after the Unix epoch; `None` if RFC 3339 cannot write that year.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        // RFC 3339 has no years before 0.
        (at.year() >= 0).then_some(Self(at))
    }

    /// Whole seconds since the Unix epoch.
    pub const fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }
}

impl From<Timestamp> for String {
    fn from(Timestamp(at): Timestamp) -> Self {
        let text = format_utc_seconds(at).and_then(|text| Self::from_utf8(text.into()).ok());
        // This never fails: both constructors reject a year or an offset that the library cannot write.
        text.unwrap_or_else(|| at.format(&Rfc3339).unwrap_or_default())
    }
}

// Nearly every timestamp of a backend has the form `2026-11-23T10:01:30Z`. The two functions below read and write that
// form. All other forms go to the library, which takes several times as long.

fn parse_utc_seconds(text: &str) -> Option<OffsetDateTime> {
    let text: &[u8; 20] = text.as_bytes().try_into().ok()?;
    if [text[4], text[7], text[10], text[13], text[16], text[19]] != *b"--T::Z" {
        return None;
    }
    let two_digits = |at: usize| {
        let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| tens * 10 + ones)
    };
    let year = i32::from(two_digits(0)?) * 100 + i32::from(two_digits(2)?);
    let date =
        Date::from_calendar_date(year, Month::try_from(two_digits(5)?).ok()?, two_digits(8)?)
            .ok()?;
    let time = Time::from_hms(two_digits(11)?, two_digits(14)?, two_digits(17)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

fn format_utc_seconds(at: OffsetDateTime) -> Option<[u8; 20]> {
    let (year, month, day) = at.to_calendar_date();
    let year = u16::try_from(year).ok().filter(|year| *year <= 9999)?;
    if at.nanosecond() != 0 || !at.offset().is_utc() {
        return None;
    }
    let (hour, minute, second) = at.to_hms();
    let mut text = *b"0000-00-00T00:00:00Z";
    for (range, mut rest) in [
        (0..4, year),
        (5..7, u8::from(month).into()),
        (8..10, day.into()),
        (11..13, hour.into()),
        (14..16, minute.into()),
        (17..19, second.into()),
    ] {
        for digit in text[range].iter_mut().rev() {
            *digit = b"0123456789"[usize::from(rest % 10)];
            rest /= 10;
        }
    }
    Some(text)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimestampVisitor)
    }
}

/// Parses the text without copying it.
struct TimestampVisitor;

impl de::Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 timestamp")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        let at = parse_utc_seconds(text).map_or_else(|| OffsetDateTime::parse(text, &Rfc3339), Ok);
        at.map(Timestamp).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_unix_seconds_agree() {
        let text: Timestamp = serde_json::from_str("\"2026-11-23T10:01:30.25Z\"").unwrap();
        assert_eq!(text.to_string(), "2026-11-23T10:01:30.25Z");
        let seconds = Timestamp::from_unix(text.unix()).unwrap();
        assert_eq!(seconds.to_string(), "2026-11-23T10:01:30Z");
        assert!(seconds < text);
        assert!(Timestamp::from_unix(i64::MAX).is_none());
        assert!(Timestamp::from_unix(-62_167_219_201).is_none());
        assert!(serde_json::from_str::<Timestamp>("\"yesterday\"").is_err());
    }

    #[test]
    fn whole_seconds_have_the_same_text_as_the_library() {
        for seconds in [0, -1, 951_782_400, 253_402_300_799, -62_167_219_200] {
            let timestamp = Timestamp::from_unix(seconds).unwrap();
            assert!(format_utc_seconds(timestamp.0).is_some());
            assert_eq!(timestamp.to_string(), timestamp.0.format(&Rfc3339).unwrap());
            assert_eq!(parse_utc_seconds(&timestamp.to_string()), Some(timestamp.0));
        }
        for text in ["2026-11-23T10:01:30+02:00", "2026-11-23T10:01:30.5Z"] {
            let timestamp: Timestamp = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(timestamp.to_string(), text);
        }
    }

    #[test]
    fn the_parser_agrees_with_the_library() {
        let good = "2024-02-29T23:59:59Z";
        assert!(parse_utc_seconds(good).is_some());
        // Replaces every character by every ASCII character: many of the texts are not valid.
        for at in 0..good.len() {
            for byte in 0..128_u8 {
                let mut text = good.as_bytes().to_vec();
                text[at] = byte;
                let text = String::from_utf8(text).unwrap();
                let library = OffsetDateTime::parse(&text, &Rfc3339).ok();
                if let Some(read) = parse_utc_seconds(&text) {
                    assert_eq!(Some(read), library, "{text}");
                }
                let json = serde_json::to_string(&text).unwrap();
                let timestamp: Option<Timestamp> = serde_json::from_str(&json).ok();
                assert_eq!(timestamp.map(|m| m.0), library, "{text}");
            }
        }
    }
}
