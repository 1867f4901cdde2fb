//! The deadline starts, a credential becomes a caller, and the request's context opens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use http::{HeaderValue, header};
use tokio::time::timeout_at;

use super::doors::{BodyLimit, Door};
use super::observe::Seen;
use super::{Edge, compress, language, quota, shed};
use crate::context::{Cx, Deadline, RequestTimeout, Urgency};
use crate::error::{Error, codes};
use crate::net;
use crate::rate_limit::Standing;
use crate::routes::{AsItIs, Entry};
use crate::scope::{Caller, Region, Tag};

/// What a door is given beyond the deadline to say itself that the deadline passed.
const GRACE: Duration = Duration::from_millis(20);

/// What is known of a request before anybody asks who sent it.
pub(super) struct Coming<'a> {
    /// Where it came from, as it counts.
    pub(super) client: Option<IpAddr>,
    /// None of pages such as `/health`, and where there is nothing.
    pub(super) door: Option<Door>,
    pub(super) seen: &'a Seen,
    pub(super) standing: Option<&'a shed::Standing>,
}

/// Answers a request with what its route says, if it may get there.
pub(super) async fn admit(
    edge: &Edge,
    coming: Coming<'_>,
    mut request: Request,
    route: &Route,
) -> Response {
    let mut standing = Standing::default();
    let opened = open(edge, &coming, &mut request, &mut standing).await;
    let mut response = match opened {
        Ok(cx) => {
            let language = cx.language();
            let until = cx.deadline() + GRACE;
            request.extensions_mut().insert(cx);
            let mut response = match timeout_at(until, compress::answer(route.clone(), request))
                .await
            {
                Ok(response) => response,
                Err(_) => Error::new(codes::DEADLINE, codes::DEADLINE.meaning()).into_response(),
            };
            if response.extensions().get::<AsItIs>().is_none()
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
        .answered(&standing, || quota::is_failure(&response));
    standing.tell(response.headers_mut());
    response
}

async fn open(
    edge: &Edge,
    coming: &Coming<'_>,
    request: &mut Request,
    standing: &mut Standing,
) -> Result<Cx, Error> {
    let started = net::now();
    let door = coming.door.unwrap_or(Door::SCREEN);
    let passed = request.extensions().get::<Arc<Entry>>();
    let judged_behind = passed.is_some_and(|passed| passed.route.terms().judged_behind);
    let asked = RequestTimeout::from_headers(request.headers())
        .map_err(|detail| Error::new(codes::INVALID_REQUEST, detail))?;
    let own = door.time.unwrap_or(edge.config.deadline);
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
        caller.inspect_err(|error| quota::failed(edge, coming.client, error))?
    };
    if let Some(caller) = &caller {
        coming.seen.signed_in();
        // What a plan is worth under overload can be known only now, and still nothing was asked of a backend.
        if let Some(standing) = coming.standing {
            standing.is_of_plan(caller.plan().as_ref().map(Tag::as_str))?;
        }
    }
    quota::count(edge, coming, request, caller.as_ref(), head, standing).await?;
    let limit = BodyLimit {
        bytes: door.max_body_bytes.unwrap_or(edge.config.max_body_bytes),
        time: edge.config.body_timeout,
    };
    request.extensions_mut().insert(limit);
    Ok(Cx::open(crate::context::Opening {
        shared: edge.shared.clone(),
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
