//! Starts the deadline, authenticates the caller, checks its rate limits and creates the request's context.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use tokio::time::{Instant, timeout_at};

use super::rate_limit;
use crate::context::{Deadline, RequestContext, RequestTimeout, Urgency};
use crate::error::{Error, codes};
use crate::inbound::edge::Edge;
use crate::inbound::endpoints::{BodyLimit, EndpointOptions};
use crate::inbound::extract::language;
use crate::inbound::middleware::compress;
use crate::inbound::middleware::request_state::EdgeState;
use crate::rate_limit::RateLimitState;
use crate::routes::Entry;
use crate::scope::{Caller, Label, Region};

/// Extra time after the deadline, in which the handler can return its own `deadline` error.
const DEADLINE_GRACE: Duration = Duration::from_millis(20);

/// Calls the route with the request's context, or returns the error of the first check that fails.
pub(in crate::inbound) async fn authenticate_and_handle(
    edge: &Edge,
    state: EdgeState<'_>,
    mut request: Request,
    route: &Route,
) -> Response {
    let mut limits = RateLimitState::default();
    let context = build_context(edge, &state, &mut request, &mut limits).await;
    let mut response = match context {
        Ok(cx) => {
            let until = cx.deadline() + DEADLINE_GRACE;
            request.extensions_mut().insert(cx);
            let response = compress::call_and_compress(route.clone(), request);
            timeout_at(until, response).await.unwrap_or_else(|_| {
                Error::new(codes::DEADLINE, codes::DEADLINE.meaning()).into_response()
            })
        }
        Err(error) => error.into_response(),
    };
    edge.limits
        .record_outcome(&limits, || rate_limit::is_failure(&response));
    limits.write_headers(response.headers_mut());
    response
}

async fn build_context(
    edge: &Edge,
    state: &EdgeState<'_>,
    request: &mut Request,
    limits: &mut RateLimitState,
) -> Result<RequestContext, Error> {
    let started = Instant::now();
    let options = state.options.unwrap_or(EndpointOptions::SCREEN);
    let proxied = request.extensions().get::<Arc<Entry>>();
    let auth_by_upstream = proxied.is_some_and(|entry| entry.route.limits().auth_by_upstream);
    let requested = RequestTimeout::from_headers(request.headers())
        .map_err(|detail| Error::new(codes::INVALID_REQUEST, detail))?;
    let default = options.timeout.unwrap_or(edge.config.deadline);
    let timeout = requested.map_or(default, |requested| {
        requested.0.min(edge.config.max_deadline.max(default))
    });
    let head = started + timeout;
    let deadline = match options.stream_idle {
        None => Deadline::Total(head),
        Some(idle) => Deadline::Stream { head, idle },
    };
    let caller = if auth_by_upstream {
        None
    } else {
        let caller = edge.auth.authenticate(request.headers(), head).await;
        caller.inspect_err(|error| rate_limit::charge_failed_auth(edge, state.client, error))?
    };
    if let Some(caller) = &caller {
        state.request.set_authenticated();
        // The caller's plan is known only now. No backend was called yet, so the request can still be shed.
        if let Some(ticket) = state.ticket {
            ticket.recheck_plan(caller.plan().as_ref().map(Label::as_str))?;
        }
    }
    rate_limit::check(edge, state, request, caller.as_ref(), head, limits).await?;
    let limit = BodyLimit {
        bytes: options.max_body_bytes.unwrap_or(edge.config.max_body_bytes),
        timeout: edge.config.body_timeout,
    };
    request.extensions_mut().insert(limit);
    request.extensions_mut().insert(edge.fields.clone());
    Ok(RequestContext::open(crate::context::RequestContextParts {
        client: edge.shared.client.clone(),
        public_url: edge.public_url.clone(),
        uri: request.uri().clone(),
        shutdown: edge.shutdown.clone(),
        request_id: state.request.request_id().clone(),
        trace: state.request.trace().clone(),
        deadline,
        urgency: Urgency::of(request.headers(), options.urgency),
        language: language::negotiate(request.headers(), &edge.config.languages),
        region: region(edge, caller.as_ref()),
        caller,
    }))
}

/// The caller's region if this gateway serves it, else the gateway's first region.
fn region(edge: &Edge, caller: Option<&Caller>) -> Region {
    let served = &edge.config.regions;
    caller
        .and_then(Caller::region)
        .filter(|region| served.contains(region))
        .or_else(|| served.first().copied())
        .unwrap_or(Region::NONE)
}
