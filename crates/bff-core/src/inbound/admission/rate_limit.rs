//! The caller's quota: counted once the caller is known, and told with the answer.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::header;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, codes};
use crate::inbound::edge::Edge;
use crate::inbound::middleware::request_state::EdgeState;
use crate::rate_limit::{self, RateLimitState};
use crate::routes::Entry;
use crate::scope::Caller;
use crate::section::screen::{JSON, SECTIONS};

/// A credential was refused: its address pays for it.
pub(in crate::inbound) fn charge_failed_auth(edge: &Edge, client: Option<IpAddr>, error: &Error) {
    // A key that could not be fetched is nobody's guess.
    if error.code() == codes::UNAUTHENTICATED {
        edge.limits.charge_failed_credential(client);
    }
}

/// Counts the request, says in `standing` how its caller stands, and waits its turn where a queue says so.
pub(in crate::inbound) async fn check(
    edge: &Edge,
    coming: &EdgeState<'_>,
    request: &mut Request,
    caller: Option<&Caller>,
    deadline: Instant,
    standing: &mut RateLimitState,
) -> Result<(), Error> {
    let (stands, passes) = {
        let matched = request.extensions().get::<MatchedPath>();
        let door = matched.map(MatchedPath::as_str);
        let passed = request.extensions().get::<Arc<Entry>>();
        let known = door.filter(|_| coming.door.is_some());
        let counted = rate_limit::Request {
            address: coming.client,
            caller,
            route: known.or(passed.map(|entry| entry.template.as_str())),
            proxied: known.is_none(),
            path: request.uri().path(),
        };
        edge.limits.check(counted).await
    };
    *standing = stands;
    passes?;
    if standing.wait().is_zero() {
        return Ok(());
    }
    let turn = Instant::now() + standing.wait();
    if turn > deadline {
        return Err(Error::new(codes::DEADLINE, codes::DEADLINE.meaning()));
    }
    sleep_until(turn).await;
    Ok(())
}

/// Whether an answer says that what is behind the gateway is not well: it failed, or it is a screen that lacks something
/// that trying again could mend, and so has no tag.
pub(in crate::inbound) fn is_failure(response: &Response) -> bool {
    let headers = response.headers();
    let json = headers.get(header::CONTENT_TYPE) == Some(&JSON);
    let lacks = json && headers.contains_key(SECTIONS) && !headers.contains_key(header::ETAG);
    response.status().is_server_error() || lacks
}
