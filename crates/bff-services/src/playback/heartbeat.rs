//! While a caller watches: how far they are, and whether to go on.

use std::time::Duration;

use bff_core::error::codes;
use bff_core::grpc::{BidiStream, Call, open_stream};
use bff_core::{Caller, Failure, RequestContext};
use tonic_prost::ProstCodec;

use super::{PlaybackClient, proto};
use crate::error_mapping;
use crate::product::ProductId;

/// What a device learns from saying how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// False: stop playing.
    pub keep_playing: bool,
    /// When to say it again.
    pub next_in: Duration,
}

/// Whether a position was refused because the title is over before it.
pub fn is_past_the_end(failure: &Failure) -> bool {
    let told = failure.public_error();
    told.is_some_and(|error| error.code() == codes::VALIDATION_FAILED)
}

/// A caller who watches, for as long as this is kept; dropping it hangs up.
#[derive(Debug)]
pub struct HeartbeatStream {
    id: ProductId,
    talk: BidiStream<proto::HeartbeatRequest, HeartbeatReply>,
}

impl PlaybackClient {
    /// Says once how far the caller has come, which is remembered, and learns whether to go on. A second time changes
    /// nothing. A position past the end is refused with 422.
    pub async fn heartbeat(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<HeartbeatReply, Failure> {
        let outcome = match self.open(cx, caller, id, position_s).await {
            Ok(talk) => talk.recv_only().await,
            Err(failure) => Err(failure),
        };
        map_error(outcome)
    }

    /// Begins to say how far the caller has come, as often as there is something to say.
    pub async fn watch(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<HeartbeatStream, Failure> {
        let talk = map_error(self.open(cx, caller, id, position_s).await)?;
        let id = id.clone();
        Ok(HeartbeatStream { id, talk })
    }

    async fn open(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<BidiStream<proto::HeartbeatRequest, HeartbeatReply>, Failure> {
        let route = "/playback.v1.Playback/Heartbeat";
        let call = Call::write(caller.clone(), route, beat(id, position_s)).repeatable();
        open_stream(cx, &self.0, call, ProstCodec::default, going).await
    }
}

impl HeartbeatStream {
    /// What the backend says to what was said last; none once it has ended the conversation well. A failure is the
    /// last thing heard.
    pub async fn recv(&mut self) -> Option<Result<HeartbeatReply, Failure>> {
        self.talk.recv().await.map(map_error)
    }

    /// Says how far the caller is now. If nobody listens any more, [`hear`](Self::hear) knows why.
    pub async fn send(&mut self, position_s: u32) {
        self.talk.send(beat(&self.id, position_s)).await;
    }
}

fn map_error<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    error_mapping::map_status(outcome, 422, codes::VALIDATION_FAILED)
}

fn beat(id: &ProductId, position_s: u32) -> proto::HeartbeatRequest {
    proto::HeartbeatRequest {
        product_id: id.to_string(),
        position_s,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what `converse` asks for")]
fn going(wire: proto::HeartbeatReply) -> Result<HeartbeatReply, &'static str> {
    Ok(HeartbeatReply {
        keep_playing: wire.keep_playing,
        next_in: Duration::from_secs(wire.next_in_s.into()),
    })
}
