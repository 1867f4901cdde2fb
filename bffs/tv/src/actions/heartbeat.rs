//! Heartbeats during playback: a TV sends them one by one, or the gateway sends them while the TV holds a stream open.
//!
//! A heartbeat saves the position at the backend, which the browse screen's row `continueWatching` reads. It is idempotent,
//! so after an unknown outcome the next heartbeat is enough.

use std::time::Duration;

use bff_core::{Caller, Failure, RequestContext};
use bff_services::playback::{HeartbeatReply, HeartbeatStream, is_past_the_end};
use bff_services::product::ProductId;
use futures_util::{Stream, stream};
use garde::Validate;
use serde::{Deserialize, Serialize};
use tokio::select;
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;

use crate::Upstreams;

/// The maximum time between two heartbeats. A TV that loses power loses at most this much of its position.
const MAX_INTERVAL: Duration = Duration::from_secs(15);
/// The minimum time between two heartbeats. It protects the backend from a shorter interval in its own reply.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum age of a stream. A new stream verifies the TV's credential again.
const MAX_STREAM_AGE: Duration = Duration::from_secs(60 * 60);

/// The playback position.
#[derive(Clone, Copy, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Position {
    /// The position in seconds from the start, at most one day.
    #[garde(range(max = 86_400))]
    #[schema(example = 120, maximum = 86_400)]
    pub position_s: u32,
}

/// The reply to a heartbeat.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// The saved position, in seconds from the start.
    #[schema(example = 120)]
    pub position_s: u32,
    /// False if the TV must stop and send no more heartbeats.
    pub keep_playing: bool,
    /// The time until the next heartbeat, in seconds. On a stream, the gateway sends it.
    #[schema(example = 10)]
    pub next_in_s: u64,
}

/// Sends one heartbeat. It completes even if the TV disconnects.
///
/// A position past the end is rejected. If the backend does not answer, the outcome is unknown.
pub async fn heartbeat(
    cx: &RequestContext,
    up: &Upstreams,
    caller: &Caller,
    id: &ProductId,
    position: Position,
) -> Result<Beat, Failure> {
    let completion = &up.completion;
    let (write_cx, up, caller, id) = (cx.clone(), up.clone(), caller.clone(), id.clone());
    let write = async move {
        let reply = up
            .playback
            .heartbeat(&write_cx, &caller, &id, position.position_s);
        Ok(Beat::from_reply(position.position_s, reply.await?))
    };
    completion.run(cx, write).await
}

/// Sends heartbeats for a TV, and advances the position by one second per second.
///
/// The stream ends when the TV disconnects, the backend replies to stop, the title ends, or the stream is an hour old.
pub async fn playback_events(
    cx: &RequestContext,
    up: &Upstreams,
    caller: &Caller,
    id: &ProductId,
    start: Position,
) -> Result<impl Stream<Item = Result<Beat, Failure>> + Send + use<>, Failure> {
    let heartbeats = up
        .playback
        .open_heartbeats(cx, caller, id, start.position_s)
        .await?;
    let playback = Playback {
        heartbeats,
        start_s: start.position_s,
        sent_s: start.position_s,
        started_at: Instant::now(),
        next_at: None,
    };
    Ok(stream::unfold(Some(playback), |playback| async {
        playback?.next_beat().await
    }))
}

/// The state of a playback stream.
struct Playback {
    heartbeats: HeartbeatStream,
    /// The position at which the stream was opened, in seconds.
    start_s: u32,
    /// The position sent last, in seconds.
    sent_s: u32,
    started_at: Instant,
    /// The time of the next heartbeat; `None` until the first reply.
    next_at: Option<Instant>,
}

impl Playback {
    /// The next beat, and the state for the one after it. Without a state, this beat is the last; `None` ends the stream.
    async fn next_beat(mut self) -> Option<(Result<Beat, Failure>, Option<Self>)> {
        let reply = match self.next_at {
            // Opening the stream sent the first heartbeat.
            None => self.heartbeats.recv().await,
            Some(next_at) if next_at.duration_since(self.started_at) > MAX_STREAM_AGE => None,
            Some(next_at) => select! {
                biased;
                // The backend may reply early, to stop the TV or to close the stream.
                reply = self.heartbeats.recv() => reply,
                () = sleep_until(next_at) => {
                    self.sent_s = self.start_s.saturating_add(self.elapsed_s());
                    self.heartbeats.send(self.sent_s).await;
                    self.heartbeats.recv().await
                }
            },
        };
        match reply? {
            Ok(reply) => {
                let beat = Beat::from_reply(self.sent_s, reply);
                self.next_at = Some(Instant::now() + Duration::from_secs(beat.next_in_s));
                Some((Ok(beat), reply.keep_playing.then_some(self)))
            }
            // The first position was accepted, so the title has now played to its end.
            Err(failure) if self.next_at.is_some() && is_past_the_end(&failure) => None,
            Err(failure) => Some((Err(failure), None)),
        }
    }

    fn elapsed_s(&self) -> u32 {
        u32::try_from(self.started_at.elapsed().as_secs()).unwrap_or(u32::MAX)
    }
}

impl Beat {
    fn from_reply(position_s: u32, reply: HeartbeatReply) -> Self {
        Self {
            position_s,
            keep_playing: reply.keep_playing,
            next_in_s: reply.next_in.clamp(MIN_INTERVAL, MAX_INTERVAL).as_secs(),
        }
    }
}
