//! A share of a whole in a configuration: from 0 to 1, anything else is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// From 0 (none) to 1 (all).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

impl Share {
    /// So many of a hundred; more than 100 is 100.
    pub const fn percent(n: u8) -> Self {
        let n = if n > 100 { 100 } else { n };
        Self(n as f64 / 100.0)
    }

    /// As a number from 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// In thousandths, rounded up.
    pub fn thousandths(self) -> u64 {
        let enough = |n: &u32| f64::from(*n) >= self.0 * 1000.0;
        (0..1000).find(enough).map_or(1000, u64::from)
    }

    /// Whether `part` is at least this share of `whole`; of nothing, nothing is.
    pub fn reached(self, part: u32, whole: u32) -> bool {
        whole > 0 && f64::from(part) >= self.0 * f64::from(whole)
    }
}

impl TryFrom<f64> for Share {
    type Error = OutOfRange;

    fn try_from(number: f64) -> Result<Self, OutOfRange> {
        if (0.0..=1.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(OutOfRange)
        }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

/// The number is no share.
#[derive(Clone, Copy, Debug)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share is a number from 0 to 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_share_is_read() {
        for (text, good) in [
            ("0", true),
            ("0.5", true),
            ("1.0", true),
            ("1.01", false),
            ("-0.1", false),
        ] {
            let read = serde_json::from_str::<Share>(text);
            assert_eq!(read.is_ok(), good, "{text}");
        }
        assert!(Share::try_from(f64::NAN).is_err());
    }

    #[test]
    fn it_is_reached_at_its_very_edge() {
        assert_eq!(Share::percent(100).thousandths(), 1000);
        assert_eq!(Share::try_from(0.0001).unwrap().thousandths(), 1);
        let half = Share::percent(50);
        assert_eq!(half.thousandths(), 500);
        assert!(half.reached(2, 4));
        assert!(!half.reached(1, 4));
        assert!(!half.reached(0, 0));
    }
}
