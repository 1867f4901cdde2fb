//! The status changes of an order as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State as SharedState};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderMap;
use serde::Serialize;

use super::account::Status;
use super::state::State;
use crate::caller::Caller;
use crate::clock::Time;
use crate::response::Problem;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    order_id: &'a str,
    status: Status,
    at: Time,
}

/// A client that reads the history of an order.
struct Subscriber {
    state: Arc<State>,
    user: String,
    order: String,
    /// The number of changes already sent.
    sent: usize,
}

/// The next change of an order.
enum NextChange {
    Change(Status, Time),
    /// No change yet. The next automatic change is due after this time, if there is one.
    Wait(Option<Duration>),
    End,
}

pub(super) async fn events(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(order): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if state
        .orders
        .lock()
        .order(&caller.id, &order, state.clock.now())
        .is_none()
    {
        return Err(Problem::not_found("order", &order));
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let sent = last.and_then(|id| id.parse().ok()).unwrap_or(0);
    let subscriber = Subscriber {
        state,
        user: caller.id,
        order,
        sent,
    };
    let stream = stream::unfold(subscriber, |mut subscriber| async move {
        let event = subscriber.next().await?;
        Some((Ok::<_, Infallible>(event), subscriber))
    });
    Ok(Sse::new(stream)
        .keep_alive(KeepAlive::default())
        .into_response())
}

impl Subscriber {
    async fn next(&mut self) -> Option<Event> {
        let state = self.state.clone();
        loop {
            // Registered before the check, so that no change between check and wait is missed.
            let mut changed = std::pin::pin!(state.changed.notified());
            changed.as_mut().enable();
            let due = match self.next_change() {
                NextChange::Change(status, at) => return self.event(status, at),
                NextChange::End => return None,
                NextChange::Wait(due) => due,
            };
            let due_time = async {
                match due {
                    Some(due) => tokio::time::sleep(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = due_time => {}
            }
        }
    }

    fn next_change(&self) -> NextChange {
        let now = self.state.clock.now();
        let mut orders = self.state.orders.lock();
        // A reset has removed the order.
        let Some(order) = orders.order(&self.user, &self.order, now) else {
            return NextChange::End;
        };
        match order.history.get(self.sent) {
            Some((status, at)) => NextChange::Change(*status, *at),
            None if matches!(order.status(), Status::Shipped | Status::Cancelled) => {
                NextChange::End
            }
            None => {
                let wait = order
                    .due()
                    .map(|due| Duration::try_from(due.0 - now.0).unwrap_or_default());
                NextChange::Wait(wait.map(|w| w.max(Duration::from_millis(1))))
            }
        }
    }

    fn event(&mut self, status: Status, at: Time) -> Option<Event> {
        self.sent += 1;
        let change = Change {
            order_id: &self.order,
            status,
            at,
        };
        Event::default()
            .event("status")
            .id(self.sent.to_string())
            .json_data(change)
            .ok()
    }
}
