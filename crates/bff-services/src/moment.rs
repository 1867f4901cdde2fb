//! Moments: RFC 3339 text on an HTTP wire, Unix seconds in gRPC.

use std::fmt;

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time. It displays as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(OffsetDateTime);

impl Moment {
    /// So many seconds after 1970, if that is a date of this era.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds).ok().map(Self)
    }

    /// Whole seconds since 1970.
    pub const fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }
}

/// `2026-11-23T10:01:30Z`, which nearly every moment of a backend is; the others are left to the library, which takes
/// ten times as long.
fn whole_second(at: OffsetDateTime) -> Option<[u8; 20]> {
    let year = u32::try_from(at.year()).ok().filter(|year| *year <= 9999)?;
    if at.nanosecond() != 0 || !at.offset().is_utc() {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00Z";
    for (place, mut rest) in [
        (0..4, year),
        (5..7, u8::from(at.month()).into()),
        (8..10, at.day().into()),
        (11..13, at.hour().into()),
        (14..16, at.minute().into()),
        (17..19, at.second().into()),
    ] {
        for digit in text[place].iter_mut().rev() {
            *digit = b"0123456789"[(rest % 10) as usize];
            rest /= 10;
        }
    }
    Some(text)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Ok(text)) = whole_second(self.0)
            .as_ref()
            .map(|t| std::str::from_utf8(t))
        {
            return f.write_str(text);
        }
        let text = self.0.format(&Rfc3339).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        time::serde::rfc3339::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_wires_mean_the_same() {
        let text: Moment = serde_json::from_str("\"2026-11-23T10:01:30.25Z\"").unwrap();
        assert_eq!(text.to_string(), "2026-11-23T10:01:30.25Z");
        let seconds = Moment::from_unix(text.unix()).unwrap();
        assert_eq!(seconds.to_string(), "2026-11-23T10:01:30Z");
        assert!(seconds < text);
        assert!(Moment::from_unix(i64::MAX).is_none());
        assert!(serde_json::from_str::<Moment>("\"yesterday\"").is_err());
    }

    #[test]
    fn whole_seconds_are_written_as_the_library_writes_them() {
        for seconds in [0, -1, 951_782_400, 253_402_300_799, -62_135_596_800] {
            let moment = Moment::from_unix(seconds).unwrap();
            assert!(whole_second(moment.0).is_some());
            assert_eq!(moment.to_string(), moment.0.format(&Rfc3339).unwrap());
        }
        for text in ["2026-11-23T10:01:30+02:00", "2026-11-23T10:01:30.5Z"] {
            let moment: Moment = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(moment.to_string(), text);
        }
    }
}
