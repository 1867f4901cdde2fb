//! The short texts that a scope can depend on: a label, a language and a region.

use std::fmt;
use std::str::FromStr;

/// A short opaque text from a closed list: 1 to 16 ASCII letters, digits, `-` or `_`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    bytes: [u8; 16],
    len: u8,
}

impl Label {
    const NONE: Self = Self {
        bytes: [0; 16],
        len: 0,
    };

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=16).contains(&text.len()) || !text.bytes().all(is_allowed) {
            return Err("1 to 16 letters, digits, `-` or `_`");
        }
        let mut label = Self::NONE;
        label.bytes[..text.len()].copy_from_slice(text.as_bytes());
        label.len = u8::try_from(text.len()).unwrap_or(0);
        Ok(label)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! label_type {
    ($(#[$doc:meta])* $name:ident, $none:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(Label);

        impl $name {
            /// Unknown.
            pub const $none: Self = Self(Label::NONE);

            /// The text; empty if unknown.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

label_type! {
    /// A language that the gateway has texts in (BCP 47), negotiated from `Accept-Language`.
    Language, UNDETERMINED
}
label_type! {
    /// A market (ISO 3166-1 alpha-2): that of the signed-in caller, else that of the gateway.
    Region, NONE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_plain_text() {
        assert_eq!("de-AT".parse::<Label>().unwrap().as_str(), "de-AT");
        for invalid in ["", "a b", "ü", "../x", "12345678901234567"] {
            assert!(invalid.parse::<Label>().is_err(), "{invalid}");
        }
    }
}
