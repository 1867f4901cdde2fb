//! The result of a read from the cache, for metrics and response headers.

/// The result of one read from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// A fresh entry; no backend was called.
    Hit,
    /// A stale entry, during a background revalidation.
    Stale,
    /// A stale entry, because the backend failed.
    StaleIfError,
    /// The response of a call that was in progress already.
    Coalesced,
    /// A call of its own.
    Miss,
    /// A call of its own for a response that is never stored.
    Bypass,
}

impl CacheResult {
    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::StaleIfError => "stale_if_error",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}
