//! Who shares one copy of an answer: the part of every key that tells readers apart.

use std::fmt;

use super::caller::{Caller, Principal};
use super::label::{Label, Language, Region};
use super::segment::Segment;

/// Everyone, a group, or one caller. It can be compared and hashed, and nothing can be read out of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Audience(Who);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Who {
    Everyone,
    /// By what the call said that it depends on, and by nothing else.
    Group {
        language: Option<Language>,
        region: Option<Region>,
        maturity: Option<Label>,
    },
    Caller(Principal),
}

impl Audience {
    pub(super) fn everyone() -> Self {
        Self(Who::Everyone)
    }

    pub(super) fn of_segment(segment: &Segment) -> Self {
        Self(Who::Group {
            language: segment.language(),
            region: segment.region(),
            maturity: segment.maturity(),
        })
    }

    pub(super) fn of_caller(caller: &Caller) -> Self {
        Self(Who::Caller(caller.principal()))
    }

    /// What tells it apart in every replica alike; `None` for one caller.
    pub fn shared(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Who::Everyone => Some(Vec::new()),
            Who::Group {
                language,
                region,
                maturity,
            } => {
                let words = [
                    language.as_ref().map(Language::as_str),
                    region.as_ref().map(Region::as_str),
                    maturity.as_ref().map(Label::as_str),
                ];
                // Words hold no such bytes: 0 is none, 1 begins one.
                let written =
                    words.map(|word| word.map_or("\0".to_owned(), |w| format!("\u{1}{w}")));
                Some(written.concat().into_bytes())
            }
            Who::Caller(_) => None,
        }
    }

    /// Whether it is one caller.
    pub fn is_personal(&self) -> bool {
        matches!(self.0, Who::Caller(_))
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Who::Everyone => "everyone",
            Who::Group { .. } => "a group",
            Who::Caller(_) => "one caller",
        })
    }
}
