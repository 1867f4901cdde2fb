//! Checks the rate-limit policies after authentication.

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

/// Charges the client's IP address for a rejected credential.
pub(in crate::inbound) fn charge_failed_auth(edge: &Edge, client: Option<IpAddr>, error: &Error) {
    // Other errors, such as a JWKS that cannot be fetched, are not the client's fault.
    if error.code() == codes::UNAUTHENTICATED {
        edge.limits.charge_failed_credential(client);
    }
}

/// Counts the request and stores the result in `limits`. If a queue policy requires it, waits for the request's turn.
pub(in crate::inbound) async fn check(
    edge: &Edge,
    state: &EdgeState<'_>,
    request: &mut Request,
    caller: Option<&Caller>,
    deadline: Instant,
    limits: &mut RateLimitState,
) -> Result<(), Error> {
    let (counted, result) = {
        let matched = request.extensions().get::<MatchedPath>();
        let endpoint = matched
            .map(MatchedPath::as_str)
            .filter(|_| state.options.is_some());
        let proxied = request.extensions().get::<Arc<Entry>>();
        let request = rate_limit::Request {
            address: state.client,
            caller,
            route: endpoint.or(proxied.map(|entry| entry.template.as_str())),
            proxied: endpoint.is_none(),
            path: request.uri().path(),
        };
        edge.limits.check(request).await
    };
    *limits = counted;
    result?;
    if limits.wait().is_zero() {
        return Ok(());
    }
    if let Some(ticket) = state.ticket {
        ticket.exclude(limits.wait());
    }
    let turn = Instant::now() + limits.wait();
    if turn > deadline {
        return Err(Error::new(codes::DEADLINE, codes::DEADLINE.meaning()));
    }
    sleep_until(turn).await;
    Ok(())
}

/// Whether a response counts as a failure for adaptive limits.
///
/// That is a status of 500 and above, or a screen without an `ETag`: a retry could complete one of its sections.
pub(in crate::inbound) fn is_failure(response: &Response) -> bool {
    let headers = response.headers();
    let json = headers.get(header::CONTENT_TYPE) == Some(&JSON);
    let incomplete = json && headers.contains_key(SECTIONS) && !headers.contains_key(header::ETAG);
    response.status().is_server_error() || incomplete
}
