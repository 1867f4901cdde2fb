//! The caller's quota: counted once the caller is known, and told with the answer.

use axum::extract::{MatchedPath, Request};
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

use super::Edge;
use super::address::Client;
use crate::error::{Error, codes};
use crate::rate_limit;
use crate::routes::Entry;
use crate::scope::Caller;

/// A credential was refused: its address pays for it.
pub(super) fn failed(edge: &Edge, request: &Request, error: &Error) {
    // A key that could not be fetched is nobody's guess.
    if error.code() == codes::UNAUTHENTICATED {
        edge.limits.failed_credential(address(request));
    }
}

/// Counts the request, leaves in it how its caller stands, and waits its turn where a queue says so.
pub(super) async fn count(
    edge: &Edge,
    request: &mut Request,
    caller: Option<&Caller>,
    deadline: Instant,
) -> Result<(), Error> {
    let (standing, passes) = {
        let matched = request.extensions().get::<MatchedPath>();
        let door = matched.map(MatchedPath::as_str);
        let passed = request.extensions().get::<Arc<Entry>>();
        let known = door.filter(|path| edge.doors.contains_key(*path));
        let counted = rate_limit::Request {
            address: address(request),
            caller,
            route: known.or(passed.map(|entry| entry.template.as_str())),
            passed: known.is_none(),
            path: request.uri().path(),
        };
        edge.limits.count(counted).await
    };
    let turn = Instant::now() + standing.wait();
    request.extensions_mut().insert(standing);
    passes?;
    if turn > deadline {
        return Err(Error::new(codes::DEADLINE, codes::DEADLINE.meaning()));
    }
    if turn > Instant::now() {
        sleep_until(turn).await;
    }
    Ok(())
}

fn address(request: &Request) -> Option<std::net::IpAddr> {
    request
        .extensions()
        .get::<Client>()
        .and_then(|client| client.0)
}
