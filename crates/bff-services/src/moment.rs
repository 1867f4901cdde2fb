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

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
}
