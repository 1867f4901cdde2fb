//! A group of callers with the same responses: by language, region or maturity.

use super::cache_visibility::CacheVisibility;
use super::caller::Caller;
use super::label::{Label, Language, Region};

/// A group of callers with the same responses. It holds only the data that the call depends on.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    request: RequestData,
    language: Option<Language>,
    region: Option<Region>,
    maturity: Option<Label>,
}

/// The verified data of this request.
#[derive(Clone, Copy, Debug)]
struct RequestData {
    language: Language,
    region: Region,
    maturity: Option<Label>,
    /// Whether region and maturity come from a caller, and not from the gateway's default.
    signed_in: bool,
}

impl Segment {
    /// A segment that depends on nothing yet.
    pub(crate) fn of(language: Language, region: Region, caller: Option<&Caller>) -> Self {
        Self {
            request: RequestData {
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

    /// The response depends on the language.
    #[must_use]
    pub fn by_language(mut self) -> Self {
        self.language = Some(self.request.language);
        self
    }

    /// The response depends on the region.
    #[must_use]
    pub fn by_region(mut self) -> Self {
        self.region = Some(self.request.region);
        self
    }

    /// The response depends on the caller's maturity level, if it is known.
    #[must_use]
    pub fn by_maturity(mut self) -> Self {
        self.maturity = self.request.maturity;
        self
    }

    /// The language, if the response depends on it.
    pub fn language(&self) -> Option<Language> {
        self.language
    }

    /// The region, if the response depends on it.
    pub fn region(&self) -> Option<Region> {
        self.region
    }

    /// The maturity level, if the response depends on it and the caller has one.
    pub fn maturity(&self) -> Option<Label> {
        self.maturity
    }

    /// Outside caches cannot distinguish the regions of callers, so these responses are private outside.
    pub(crate) fn visibility(&self) -> CacheVisibility {
        let by_caller = self.region.is_some() || self.maturity.is_some();
        CacheVisibility {
            private: self.request.signed_in && by_caller,
            by_language: self.language.is_some(),
            by_caller,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_holds_only_what_the_call_depends_on() {
        let region: Region = "DE".parse().unwrap();
        let segment = Segment::of(Language::UNDETERMINED, region, None);
        assert_eq!(segment.region(), None);
        assert_eq!(segment.by_region().region(), Some(region));
        assert!(!segment.by_region().visibility().private);
    }
}
