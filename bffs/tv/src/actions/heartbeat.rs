//! A set that plays says how far it is, and learns whether to go on: beat by beat, or for as long as it holds a stream.
//!
//! A beat is remembered at the backend, from where the browse screen's continue watching comes. Doing it twice is doing
//! it once, so a beat whose outcome is unknown is simply followed by the next.

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

/// The longest time between two beats: what a set loses at most when its plug is pulled.
const MAX_INTERVAL: Duration = Duration::from_secs(15);
/// The shortest: a backend that asks for more would be asked for itself.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long one stream lasts at most, so that a set's credential is looked at again now and then.
const MAX_STREAM_AGE: Duration = Duration::from_secs(60 * 60);

/// Where a set is.
#[derive(Clone, Copy, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Position {
    /// In seconds from the start, at most a day.
    #[garde(range(max = 86_400))]
    #[schema(example = 120, maximum = 86_400)]
    pub position_s: u32,
}

/// What a set learns from a beat.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// The position that was remembered, in seconds from the start.
    #[schema(example = 120)]
    pub position_s: u32,
    /// False: stop playing, and do not say where you are any more.
    pub keep_playing: bool,
    /// When to beat again (of a stream: when the gateway does), in seconds.
    #[schema(example = 10)]
    pub next_in_s: u64,
}

/// One beat. It is done once it was remembered; a position past the end is refused; without an answer it may have been
/// remembered or not. It runs to its end although the set hangs up.
pub async fn heartbeat(
    cx: &RequestContext,
    up: &Upstreams,
    caller: &Caller,
    id: &ProductId,
    at: Position,
) -> Result<Beat, Failure> {
    let (inside, up, caller, id) = (cx.clone(), up.clone(), caller.clone(), id.clone());
    let write = async move {
        let said = up.playback.heartbeat(&inside, &caller, &id, at.position_s);
        Ok(Beat::of(at.position_s, said.await?))
    };
    cx.to_completion(write).await
}

/// Beats for a set while it plays, for it plays a second each second: until the set hangs up, which is how it says that
/// it stopped, until it is told to stop, until the title is over, or until the stream is an hour old.
pub async fn playback_events(
    cx: &RequestContext,
    up: &Upstreams,
    caller: &Caller,
    id: &ProductId,
    from: Position,
) -> Result<impl Stream<Item = Result<Beat, Failure>> + Send + use<>, Failure> {
    let watching = up.playback.watch(cx, caller, id, from.position_s).await?;
    let playing = Playing {
        watching,
        from: from.position_s,
        said: from.position_s,
        began: Instant::now(),
        next: None,
    };
    Ok(stream::unfold(Some(playing), |playing| async {
        playing?.next_beat().await
    }))
}

/// A set that plays, as its stream sees it.
struct Playing {
    watching: HeartbeatStream,
    from: u32,
    /// The position said last.
    said: u32,
    began: Instant,
    /// When to say something next; none while the first is under way.
    next: Option<Instant>,
}

impl Playing {
    /// The next beat; without a `Playing` behind it, the last one. None when all is said.
    async fn next_beat(mut self) -> Option<(Result<Beat, Failure>, Option<Self>)> {
        let heard = match self.next {
            // What it was opened with.
            None => self.watching.recv().await,
            Some(next) if next.duration_since(self.began) > MAX_STREAM_AGE => None,
            Some(next) => select! {
                biased;
                // What the backend says unasked counts at once: that the set is to stop, or that nobody listens.
                heard = self.watching.recv() => heard,
                () = sleep_until(next) => {
                    self.said = self.from.saturating_add(self.played_s());
                    self.watching.send(self.said).await;
                    self.watching.recv().await
                }
            },
        };
        match heard? {
            Ok(going) => {
                let beat = Beat::of(self.said, going);
                self.next = Some(Instant::now() + Duration::from_secs(beat.next_in_s));
                Some((Ok(beat), going.keep_playing.then_some(self)))
            }
            // Where it began was no further than the end: it has played up to there since.
            Err(failure) if self.next.is_some() && is_past_the_end(&failure) => None,
            Err(failure) => Some((Err(failure), None)),
        }
    }

    fn played_s(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX)
    }
}

impl Beat {
    fn of(position_s: u32, going: HeartbeatReply) -> Self {
        Self {
            position_s,
            keep_playing: going.keep_playing,
            next_in_s: going.next_in.clamp(MIN_INTERVAL, MAX_INTERVAL).as_secs(),
        }
    }
}
