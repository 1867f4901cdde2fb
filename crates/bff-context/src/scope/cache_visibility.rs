//! The part of `Cache-Control` and `Vary` that a scope decides.

/// The caches that may store a response, as our own `Cache-Control` and `Vary` report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheVisibility {
    /// Only the caller's own cache may store it.
    pub private: bool,
    /// It differs by `Accept-Language`.
    pub by_language: bool,
    /// It differs by caller. Also set for a request without a caller, because the next one may have one.
    pub by_caller: bool,
}

impl CacheVisibility {
    /// The visibility of a response of one caller.
    pub const PRIVATE: Self = Self {
        private: true,
        by_language: false,
        by_caller: true,
    };

    /// The visibility of a response that combines two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            private: self.private || other.private,
            by_language: self.by_language || other.by_language,
            by_caller: self.by_caller || other.by_caller,
        }
    }
}
