//! The cache policies of content: the time for which a response may be served.
//!
//! A call without one of these policies follows its backend's `Cache-Control` and is never served stale. That holds for
//! prices, stock and playback rights. Data of one caller is not cached.

use std::time::Duration;

use bff_core::outbound::Call;
use bff_core::scope::Shareable;

/// How long a stale copy may replace the response of a backend that fails.
const STALE_IF_ERROR: Duration = Duration::from_secs(600);

/// One item: fresh for a minute.
pub(crate) fn cache_item<S: Shareable>(call: Call<S>) -> Call<S> {
    allow_stale(call.ttl(Duration::from_secs(60)), 10)
}

/// A list: fresh for five minutes.
pub(crate) fn cache_list<S: Shareable>(call: Call<S>) -> Call<S> {
    allow_stale(call.ttl(Duration::from_secs(300)), 60)
}

/// Lets the cache serve a stale copy: for `revalidate_s` seconds while it revalidates, and for ten minutes if the
/// backend fails.
pub(crate) fn allow_stale<S: Shareable>(call: Call<S>, revalidate_s: u64) -> Call<S> {
    call.stale_while_revalidate(Duration::from_secs(revalidate_s))
        .stale_if_error(STALE_IF_ERROR)
}
