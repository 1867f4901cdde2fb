//! How a read used the cache: the value that metrics and response headers report.

/// How one read used the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// A fresh copy; no backend was called.
    Hit,
    /// A stale copy, while it is renewed in the background.
    Stale,
    /// A stale copy, because the backend failed.
    StaleIfError,
    /// A call that was in flight already.
    Coalesced,
    /// A call of its own.
    Miss,
    /// A call of its own for what is never kept.
    Bypass,
}

impl CacheResult {
    /// The word in metrics.
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
