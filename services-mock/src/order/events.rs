//! The changes of one order's status as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State as Of};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderMap;
use serde::Serialize;

use super::account::Status;
use crate::caller::Caller;
use crate::clock::Time;
use crate::response::Problem;
use crate::world::MockState;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    order_id: &'a str,
    status: Status,
    at: Time,
}

/// A reader of one order's history.
struct Reader {
    world: Arc<MockState>,
    user: String,
    order: String,
    /// How many changes were sent.
    sent: usize,
}

/// What a look at the order brought.
enum Look {
    Change(Status, Time),
    /// Nothing new; a change comes by itself after this long, if at all.
    Wait(Option<Duration>),
    End,
}

pub(super) async fn events(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Path(order): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if world
        .order
        .books
        .lock()
        .order(&caller.id, &order, world.clock.now())
        .is_none()
    {
        return Err(Problem::not_found("order", &order));
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let sent = last.and_then(|id| id.parse().ok()).unwrap_or(0);
    let reader = Reader {
        world,
        user: caller.id,
        order,
        sent,
    };
    let stream = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Ok(Sse::new(stream)
        .keep_alive(KeepAlive::default())
        .into_response())
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        let world = self.world.clone();
        loop {
            // Enrolled before the look, so that no change falls between look and wait.
            let mut changed = std::pin::pin!(world.order.changed.notified());
            changed.as_mut().enable();
            let due = match self.look() {
                Look::Change(status, at) => return self.event(status, at),
                Look::End => return None,
                Look::Wait(due) => due,
            };
            let ripe = async {
                match due {
                    Some(due) => tokio::time::sleep(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = ripe => {}
            }
        }
    }

    fn look(&self) -> Look {
        let now = self.world.clock.now();
        let mut books = self.world.order.books.lock();
        // After a reset the order is gone.
        let Some(order) = books.order(&self.user, &self.order, now) else {
            return Look::End;
        };
        match order.history.get(self.sent) {
            Some((status, at)) => Look::Change(*status, *at),
            None if matches!(order.status(), Status::Shipped | Status::Cancelled) => Look::End,
            None => {
                let wait = order
                    .due()
                    .map(|due| Duration::try_from(due.0 - now.0).unwrap_or_default());
                Look::Wait(wait.map(|w| w.max(Duration::from_millis(1))))
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
