//! How long content is kept, in this vocabulary's words. What a call does not say here is kept as its backend says and
//! never served stale: prices, stock, and who may play what. What is one caller's is not kept at all.

use std::time::Duration;

use bff_core::outbound::Call;
use bff_core::scope::Shareable;

/// For how long content may stand in for a backend that fails.
const STANDS_IN: Duration = Duration::from_secs(600);

/// One thing in full: fresh for a minute.
pub(crate) fn detail<S: Shareable>(call: Call<S>) -> Call<S> {
    content(call.ttl(Duration::from_secs(60)), 10)
}

/// Many things: fresh for five minutes.
pub(crate) fn listing<S: Shareable>(call: Call<S>) -> Call<S> {
    content(call.ttl(Duration::from_secs(300)), 60)
}

/// What its backend knows best how long to keep. A copy may serve for some seconds more while it is asked for anew,
/// so that no reader waits for that.
pub(crate) fn content<S: Shareable>(call: Call<S>, seconds: u64) -> Call<S> {
    call.stale_while_revalidate(Duration::from_secs(seconds))
        .stale_if_error(STANDS_IN)
}
