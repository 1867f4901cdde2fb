//! A group of callers who see the same: by language, region, maturity, plan or experiment arm.

use std::fmt;
use std::str::FromStr;

use super::{CacheVisibility, Caller};

/// A short opaque word from a closed list: 1 to 16 ASCII letters, digits, `-` or `_`.
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

    /// The word.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=16).contains(&text.len()) || !text.bytes().all(word) {
            return Err("1 to 16 letters, digits, `-` or `_`");
        }
        let mut tag = Self::NONE;
        tag.bytes[..text.len()].copy_from_slice(text.as_bytes());
        tag.len = u8::try_from(text.len()).unwrap_or(0);
        Ok(tag)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! tag_type {
    ($(#[$doc:meta])* $name:ident, $none:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(Label);

        impl $name {
            /// Not known.
            pub const $none: Self = Self(Label::NONE);

            /// The word; empty when not known.
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

tag_type! {
    /// A language the gateway has texts in (BCP 47), negotiated from `Accept-Language`.
    Language, UNDETERMINED
}
tag_type! {
    /// A market (ISO 3166-1 alpha-2): the signed-in caller's, else the gateway's own.
    Region, NONE
}

/// A group of callers who see the same. It holds only what the fetch said it depends on.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    known: Known,
    language: Option<Language>,
    region: Option<Region>,
    maturity: Option<Label>,
}

/// What the server knows of this request, from verified facts.
#[derive(Clone, Copy, Debug)]
struct Known {
    language: Language,
    region: Region,
    maturity: Option<Label>,
    /// Whether region and maturity are a caller's own and not the gateway's default.
    signed_in: bool,
}

impl Segment {
    /// A segment that depends on nothing yet.
    pub(crate) fn of(language: Language, region: Region, caller: Option<&Caller>) -> Self {
        Self {
            known: Known {
                language,
                region,
                maturity: caller.and_then(Caller::maturity),
                signed_in: caller.is_some(),
            },
            language: None,
            region: None,
            maturity: None,
        }
    }

    /// The answer depends on the language.
    #[must_use]
    pub fn by_language(mut self) -> Self {
        self.language = Some(self.known.language);
        self
    }

    /// The answer depends on the region.
    #[must_use]
    pub fn by_region(mut self) -> Self {
        self.region = Some(self.known.region);
        self
    }

    /// The answer depends on the caller's maturity level, when there is one.
    #[must_use]
    pub fn by_maturity(mut self) -> Self {
        self.maturity = self.known.maturity;
        self
    }

    /// The language, if the answer depends on it.
    pub fn language(&self) -> Option<Language> {
        self.language
    }

    /// The region, if the answer depends on it.
    pub fn region(&self) -> Option<Region> {
        self.region
    }

    /// The maturity level, if the answer depends on it and the caller has one.
    pub fn maturity(&self) -> Option<Label> {
        self.maturity
    }

    /// A shared cache cannot tell two callers' regions apart: those answers are private to the outside.
    pub(crate) fn visibility(&self) -> CacheVisibility {
        let callers_own = self.region.is_some() || self.maturity.is_some();
        CacheVisibility {
            private: self.known.signed_in && callers_own,
            by_language: self.language.is_some(),
            by_caller: callers_own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_words_are_tags() {
        assert_eq!("de-AT".parse::<Label>().unwrap().as_str(), "de-AT");
        for bad in ["", "a b", "ü", "../x", "12345678901234567"] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_segment_holds_only_what_was_named() {
        let region: Region = "DE".parse().unwrap();
        let segment = Segment::of(Language::UNDETERMINED, region, None);
        assert_eq!(segment.region(), None);
        assert_eq!(segment.by_region().region(), Some(region));
        assert!(!segment.by_region().visibility().private);
    }
}
