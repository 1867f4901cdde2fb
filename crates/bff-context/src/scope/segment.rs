//! A group of callers who see the same: by language, region, maturity, plan or experiment arm.

use super::cache_visibility::CacheVisibility;
use super::caller::Caller;
use super::label::{Label, Language, Region};

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
    fn a_segment_holds_only_what_was_named() {
        let region: Region = "DE".parse().unwrap();
        let segment = Segment::of(Language::UNDETERMINED, region, None);
        assert_eq!(segment.region(), None);
        assert_eq!(segment.by_region().region(), Some(region));
        assert!(!segment.by_region().visibility().private);
    }
}
