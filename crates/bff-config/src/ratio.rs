//! A ratio in a configuration: a number from 0 to 1.

use serde::{Deserialize, Serialize};

/// From 0 (none) to 1 (all).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(f64);

impl Ratio {
    /// A number of percent. More than 100 is 100.
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

    /// Whether `part` is at least this ratio of `whole`. Never for a `whole` of 0.
    pub fn is_reached_by(self, part: u32, whole: u32) -> bool {
        whole > 0 && f64::from(part) >= self.0 * f64::from(whole)
    }
}

impl TryFrom<f64> for Ratio {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err("a ratio is a number from 0 to 1")
        }
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_from_0_to_1_are_read() {
        for (text, good) in [
            ("0", true),
            ("0.5", true),
            ("1.0", true),
            ("1.01", false),
            ("-0.1", false),
        ] {
            let read = serde_json::from_str::<Ratio>(text);
            assert_eq!(read.is_ok(), good, "{text}");
        }
        assert!(Ratio::try_from(f64::NAN).is_err());
    }

    #[test]
    fn the_ratio_itself_reaches_it() {
        assert_eq!(Ratio::percent(100).thousandths(), 1000);
        assert_eq!(Ratio::try_from(0.0001).unwrap().thousandths(), 1);
        let half = Ratio::percent(50);
        assert_eq!(half.thousandths(), 500);
        assert!(half.is_reached_by(2, 4));
        assert!(!half.is_reached_by(1, 4));
        assert!(!half.is_reached_by(0, 0));
    }
}
