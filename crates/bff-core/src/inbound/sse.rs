//! A stream of server-sent events (WHATWG HTML §9.2), for endpoints with
//! [`stream_idle`](super::EndpointOptions::stream_idle).

use std::convert::Infallible;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::select;

use crate::context::RequestContext;
use crate::error::{Error, codes};

/// A response with one event called `name` for each item.
///
/// After an error, the last event is `problem`, with the problem document as its data. When the gateway shuts down, the
/// last event is `shutdown`, with the data `{}`: a client that reconnects gets another replica. A stream that ends with
/// neither is complete.
#[derive(Debug)]
pub struct SseStream<S> {
    cx: RequestContext,
    name: &'static str,
    items: S,
}

impl<S> SseStream<S> {
    /// Creates a stream of events called `name`.
    pub fn new(cx: RequestContext, name: &'static str, items: S) -> Self {
        Self { cx, name, items }
    }
}

impl<S, T> IntoResponse for SseStream<S>
where
    S: Stream<Item = Result<T, Error>> + Send + 'static,
    T: Serialize,
{
    fn into_response(self) -> Response {
        let Self { cx, name, items } = self;
        let shutdown = Box::pin(cx.shutdown());
        let events = items.map(move |item| {
            let event = item.and_then(|item| {
                let event = Event::default().event(name).json_data(item);
                event.map_err(|e| {
                    Error::new(codes::INTERNAL, codes::INTERNAL.meaning()).with_cause(e)
                })
            });
            event.unwrap_or_else(|error| problem(&cx, &error))
        });
        // The state is `None` after the last event.
        let events = stream::unfold(Some((Box::pin(events), shutdown)), |state| async {
            let (mut events, mut shutdown) = state?;
            select! {
                biased;
                () = &mut shutdown => {
                    let last = Event::default().event("shutdown").data("{}");
                    Some((Ok::<_, Infallible>(last), None))
                }
                event = events.next() => Some((Ok(event?), Some((events, shutdown)))),
            }
        });
        let mut response = Sse::new(events).into_response();
        let no_store = HeaderValue::from_static("no-store");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_store);
        response
    }
}

/// The event of an error.
fn problem(cx: &RequestContext, error: &Error) -> Event {
    let document = cx.problem(error);
    // The document is JSON on one line, because a line break would split the event's data.
    let document = String::from_utf8(document).unwrap_or_default();
    Event::default().event("problem").data(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GatewayHandles;
    use http_body_util::BodyExt;
    use std::time::Duration;

    #[tokio::test]
    async fn an_error_becomes_a_problem_event_at_the_end() {
        let shared = GatewayHandles::in_process("test", crate::context::Env::real());
        let cx = RequestContext::background(&shared.client, &shared.env, Duration::from_secs(1));
        let items = [Ok(1), Err(Error::new(codes::TIMEOUT, "line one\nline two"))];
        let response = SseStream::new(cx, "tick", stream::iter(items)).into_response();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        let (tick, problem) = body.split_once("\n\n").unwrap();
        assert_eq!(tick, "event: tick\ndata: 1");
        let data = problem.strip_prefix("event: problem\ndata: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data.trim_end()).unwrap();
        assert_eq!(
            (&data["code"], &data["status"]),
            (&"timeout".into(), &504.into())
        );
        assert_eq!(data["type"], "/errors/timeout");
    }
}
