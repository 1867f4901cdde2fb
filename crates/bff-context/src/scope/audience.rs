//! The audience of a cache entry: the part of every cache key that separates readers.

use std::fmt;

use super::caller::{Caller, Principal};
use super::label::{Label, Language, Region};
use super::segment::Segment;

/// Everyone, a group, or one caller. It can be compared and hashed, but no data can be read from it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Audience(Readers);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Readers {
    Everyone,
    /// Only the data that the call depends on.
    Group {
        language: Option<Language>,
        region: Option<Region>,
        maturity: Option<Label>,
    },
    Caller(Principal),
}

impl Audience {
    pub(super) fn everyone() -> Self {
        Self(Readers::Everyone)
    }

    pub(super) fn of_segment(segment: &Segment) -> Self {
        Self(Readers::Group {
            language: segment.language(),
            region: segment.region(),
            maturity: segment.maturity(),
        })
    }

    pub(super) fn of_caller(caller: &Caller) -> Self {
        Self(Readers::Caller(caller.principal()))
    }

    /// A representation that is equal in all replicas; `None` for one caller.
    pub fn shared(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Readers::Everyone => Some(Vec::new()),
            Readers::Group {
                language,
                region,
                maturity,
            } => {
                let labels = [
                    language.as_ref().map(Language::as_str),
                    region.as_ref().map(Region::as_str),
                    maturity.as_ref().map(Label::as_str),
                ];
                // No label contains the bytes 0 and 1: 0 is a missing label, 1 starts a label.
                let encoded = labels
                    .map(|label| label.map_or("\0".to_owned(), |text| format!("\u{1}{text}")));
                Some(encoded.concat().into_bytes())
            }
            Readers::Caller(_) => None,
        }
    }

    /// Whether the audience is one caller.
    pub fn is_personal(&self) -> bool {
        matches!(self.0, Readers::Caller(_))
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Readers::Everyone => "everyone",
            Readers::Group { .. } => "a group",
            Readers::Caller(_) => "one caller",
        })
    }
}
