//! A card on its way to the payment backend: it goes out whole and is never printed.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number on the front.
pub type CardNumber = Digits<12, 19>;

/// The number on the back.
pub type Cvc = Digits<3, 4>;

/// What pays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    /// The number on the front.
    pub number: CardNumber,
    /// Until when it is good: `MM/YY`.
    pub expiry: String,
    /// The number on the back.
    pub cvc: Cvc,
}

/// `MIN` to `MAX` digits that no log may hold: they can be sent, and neither shown nor compared.
#[derive(Clone)]
pub struct Digits<const MIN: usize, const MAX: usize>(Box<str>);

/// A text that is not the digits it should be. It does not say what the text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDigits {
    min: usize,
    max: usize,
}

impl fmt::Display for NotDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is a text of {} to {} digits", self.min, self.max)
    }
}

impl std::error::Error for NotDigits {}

impl<const MIN: usize, const MAX: usize> Digits<MIN, MAX> {
    const REFUSED: NotDigits = NotDigits { min: MIN, max: MAX };
}

impl<const MIN: usize, const MAX: usize> FromStr for Digits<MIN, MAX> {
    type Err = NotDigits;

    /// Spaces and hyphens between the digits, as people write them, are left out.
    fn from_str(text: &str) -> Result<Self, NotDigits> {
        let digits: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-'))
            .take(MAX + 1)
            .collect();
        let good =
            (MIN..=MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        good.then(|| Self(digits.into())).ok_or(Self::REFUSED)
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Digits<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<const MIN: usize, const MAX: usize> Serialize for Digits<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Digits<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own messages quote what they could not read, for instance a number sent without quotes.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Sent {
            Text(String),
            Other(IgnoredAny),
        }
        match Sent::deserialize(deserializer)? {
            Sent::Text(text) => text.parse().map_err(D::Error::custom),
            Sent::Other(_) => Err(D::Error::custom(Self::REFUSED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_of_the_right_length_pass() {
        for good in ["4111 1111 1111 1111", "4111-1111-1111", "4000000000000002"] {
            assert!(good.parse::<CardNumber>().is_ok(), "{good}");
        }
        let long = "4".repeat(20);
        for bad in ["", "4111", &long, "4111x11111111111", "４111111111111111"] {
            assert!(bad.parse::<CardNumber>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_mistake_quotes_the_number() {
        for sent in [
            r#""4111 1111 1111 1111x""#,
            "4111111111111111",
            "-4111111111111111",
            "4111111111111111.5",
            r#"["4111111111111111"]"#,
            r#"{"4111111111111111":4111111111111111}"#,
        ] {
            let error = serde_json::from_str::<CardNumber>(sent).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("4111"), "{error}");
        }
        let card = r#"{"number":4111111111111111,"expiry":"12/30","cvc":"987"}"#;
        let error = serde_json::from_str::<Card>(card).unwrap_err().to_string();
        assert!(
            error.starts_with("it is a text of 12 to 19 digits"),
            "{error}"
        );
    }
}
