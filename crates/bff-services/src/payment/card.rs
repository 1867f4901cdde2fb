//! Card data: it is sent to the payment backend and never printed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use garde::Validate;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A card number (PAN).
pub type CardNumber = Digits<12, 19>;

/// A card verification code.
pub type Cvc = Digits<3, 4>;

/// A card. Only its last four digits are stored or shown.
#[derive(Clone, Debug, Serialize, Deserialize, Validate, ToSchema)]
#[schema(as = CardInput, example = json!({"number": "4111 1111 1111 1111", "expiry": "12/30", "cvc": "987"}))]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The card number: 12 to 19 digits; spaces and hyphens are ignored.
    #[garde(skip)]
    pub number: CardNumber,
    /// The expiry date, `MM/YY`.
    #[garde(pattern(r"^(0[1-9]|1[0-2])/[0-9]{2}$"))]
    #[schema(pattern = "^(0[1-9]|1[0-2])/[0-9]{2}$")]
    pub expiry: String,
    /// The card verification code: 3 or 4 digits.
    #[garde(skip)]
    pub cvc: Cvc,
}

/// `MIN` to `MAX` secret digits. They can be serialized, but not displayed and not compared.
#[derive(Clone)]
pub struct Digits<const MIN: usize, const MAX: usize>(Box<str>);

/// The error for a text that is not such digits. It does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDigits {
    min: usize,
    max: usize,
}

impl fmt::Display for NotDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be a string of {} to {} digits", self.min, self.max)
    }
}

impl std::error::Error for NotDigits {}

impl<const MIN: usize, const MAX: usize> Digits<MIN, MAX> {
    const ERROR: NotDigits = NotDigits { min: MIN, max: MAX };
}

impl<const MIN: usize, const MAX: usize> FromStr for Digits<MIN, MAX> {
    type Err = NotDigits;

    /// Ignores spaces and hyphens.
    fn from_str(text: &str) -> Result<Self, NotDigits> {
        let digits: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-'))
            .take(MAX + 1)
            .collect();
        let valid =
            (MIN..=MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| Self(digits.into())).ok_or(Self::ERROR)
    }
}

/// The rules of [`FromStr`].
impl<const MIN: usize, const MAX: usize> PartialSchema for Digits<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^[ -]*([0-9][ -]*){{{MIN},{MAX}}}$")))
            .into()
    }
}

impl<const MIN: usize, const MAX: usize> ToSchema for Digits<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Digits{MIN}To{MAX}").into()
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
        // Serde's own messages quote the input, for instance a number that was sent without quotes.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Input {
            Text(String),
            Other(IgnoredAny),
        }
        match Input::deserialize(deserializer)? {
            Input::Text(text) => text.parse().map_err(D::Error::custom),
            Input::Other(_) => Err(D::Error::custom(Self::ERROR)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_of_the_right_length_parse() {
        for valid in ["4111 1111 1111 1111", "4111-1111-1111", "4000000000000002"] {
            assert!(valid.parse::<CardNumber>().is_ok(), "{valid}");
        }
        let long = "4".repeat(20);
        for invalid in ["", "4111", &long, "4111x11111111111", "４111111111111111"] {
            assert!(invalid.parse::<CardNumber>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn no_error_quotes_the_number() {
        for input in [
            r#""4111 1111 1111 1111x""#,
            "4111111111111111",
            "-4111111111111111",
            "4111111111111111.5",
            r#"["4111111111111111"]"#,
            r#"{"4111111111111111":4111111111111111}"#,
        ] {
            let error = serde_json::from_str::<CardNumber>(input).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("4111"), "{error}");
        }
        let card = r#"{"number":4111111111111111,"expiry":"12/30","cvc":"987"}"#;
        let error = serde_json::from_str::<Card>(card).unwrap_err().to_string();
        assert!(
            error.starts_with("must be a string of 12 to 19 digits"),
            "{error}"
        );
    }
}
