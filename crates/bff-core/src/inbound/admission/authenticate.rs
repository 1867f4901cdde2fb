//! The deadline starts, a credential becomes a caller, and the request's context opens.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use http::{HeaderValue, header};
use tokio::time::timeout_at;

use super::rate_limit;
use crate::context::{Deadline, RequestContext, RequestTimeout, Urgency};
use crate::error::{Error, codes};
use crate::inbound::edge::Edge;
use crate::inbound::endpoints::{BodyLimit, EndpointOptions};
use crate::inbound::extract::language;
use crate::inbound::middleware::compress;
use crate::inbound::middleware::request_state::EdgeState;
use crate::net;
use crate::rate_limit::RateLimitState;
use crate::routes::{Entry, ProxiedResponse};
use crate::scope::{Caller, Label, Region};

/// What a door is given beyond the deadline to say itself that the deadline passed.
const DEADLINE_GRACE: Duration = Duration::from_millis(20);

/// Answers a request with what its route says, if it may get there.
pub(in crate::inbound) async fn authenticate_and_handle(
    edge: &Edge,
    coming: EdgeState<'_>,
    mut request: Request,
    route: &Route,
) -> Response {
    let mut standing = RateLimitState::default();
    let opened = build_context(edge, &coming, &mut request, &mut standing).await;
    let mut response = match opened {
        Ok(cx) => {
            let language = cx.language();
            let until = cx.deadline() + DEADLINE_GRACE;
            request.extensions_mut().insert(cx);
            let mut response = match timeout_at(
                until,
                compress::call_and_compress(route.clone(), request),
            )
            .await
            {
                Ok(response) => response,
                Err(_) => Error::new(codes::DEADLINE, codes::DEADLINE.meaning()).into_response(),
            };
            if response.extensions().get::<ProxiedResponse>().is_none()
                && let Ok(value) = HeaderValue::from_str(language.as_str())
            {
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_LANGUAGE, value);
            }
            response
        }
        Err(error) => error.into_response(),
    };
    edge.limits
        .record_outcome(&standing, || rate_limit::is_failure(&response));
    standing.write_headers(response.headers_mut());
    response
}

async fn build_context(
    edge: &Edge,
    coming: &EdgeState<'_>,
    request: &mut Request,
    standing: &mut RateLimitState,
) -> Result<RequestContext, Error> {
    let started = net::now();
    let door = coming.door.unwrap_or(EndpointOptions::SCREEN);
    let passed = request.extensions().get::<Arc<Entry>>();
    let judged_behind = passed.is_some_and(|passed| passed.route.terms().auth_by_upstream);
    let asked = RequestTimeout::from_headers(request.headers())
        .map_err(|detail| Error::new(codes::INVALID_REQUEST, detail))?;
    let own = door.timeout.unwrap_or(edge.config.deadline);
    let time = asked.map_or(own, |t| t.0.min(edge.config.max_deadline.max(own)));
    let head = started + time;
    let deadline = match door.stream_idle {
        None => Deadline::Total(head),
        Some(idle) => Deadline::Stream { head, idle },
    };
    let caller = if judged_behind {
        None
    } else {
        let caller = edge.auth.authenticate(request.headers(), head).await;
        caller.inspect_err(|error| rate_limit::charge_failed_auth(edge, coming.client, error))?
    };
    if let Some(caller) = &caller {
        coming.seen.signed_in();
        // What a plan is worth under overload can be known only now, and still nothing was asked of a backend.
        if let Some(standing) = coming.standing {
            standing.recheck_plan(caller.plan().as_ref().map(Label::as_str))?;
        }
    }
    rate_limit::check(edge, coming, request, caller.as_ref(), head, standing).await?;
    let limit = BodyLimit {
        bytes: door.max_body_bytes.unwrap_or(edge.config.max_body_bytes),
        time: edge.config.body_timeout,
    };
    request.extensions_mut().insert(limit);
    request.extensions_mut().insert(edge.fields.clone());
    Ok(RequestContext::open(crate::context::RequestContextParts {
        client: edge.shared.client.clone(),
        shutdown: edge.shutdown.clone(),
        request_id: coming.seen.request_id().clone(),
        trace: coming.seen.trace().clone(),
        deadline,
        urgency: Urgency::of(request.headers(), door.urgency),
        language: language::negotiate(request.headers(), &edge.config.languages),
        region: region(edge, caller.as_ref()),
        caller,
    }))
}

/// The caller's own market when it is one we serve, else the gateway's.
fn region(edge: &Edge, caller: Option<&Caller>) -> Region {
    let served = &edge.config.regions;
    caller
        .and_then(Caller::region)
        .filter(|region| served.contains(region))
        .or_else(|| served.first().copied())
        .unwrap_or(Region::NONE)
}
