//! Heartbeats during playback: the client reports its position, and the backend replies whether to continue.

use std::time::Duration;

use bff_core::error::codes;
use bff_core::grpc::{BidiStream, Call, open_stream};
use bff_core::{Caller, Failure, RequestContext};
use tonic_prost::ProstCodec;

use super::{PlaybackClient, map_past_the_end, proto};
use crate::product::ProductId;

/// The reply to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// False if the device must stop.
    pub keep_playing: bool,
    /// The time until the next heartbeat.
    pub next_in: Duration,
}

/// Whether the backend rejected a position because it is past the end of the title.
pub fn is_past_the_end(failure: &Failure) -> bool {
    let error = failure.public_error();
    error.is_some_and(|error| error.code() == codes::VALIDATION_FAILED)
}

/// An open heartbeat stream. Dropping it cancels the stream.
#[derive(Debug)]
pub struct HeartbeatStream {
    id: ProductId,
    stream: BidiStream<proto::HeartbeatRequest, HeartbeatReply>,
}

impl PlaybackClient {
    /// Sends one heartbeat, which saves the caller's position. The call is idempotent. A position past the end fails with
    /// 422.
    pub async fn heartbeat(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<HeartbeatReply, Failure> {
        let outcome = match self.open_stream(cx, caller, id, position_s).await {
            Ok(stream) => stream.recv_only().await,
            Err(failure) => Err(failure),
        };
        map_error(outcome)
    }

    /// Opens a stream of heartbeats. `position_s` is the first one.
    pub async fn open_heartbeats(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<HeartbeatStream, Failure> {
        let stream = map_error(self.open_stream(cx, caller, id, position_s).await)?;
        let id = id.clone();
        Ok(HeartbeatStream { id, stream })
    }

    async fn open_stream(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<BidiStream<proto::HeartbeatRequest, HeartbeatReply>, Failure> {
        let route = "/playback.v1.Playback/Heartbeat";
        let call = Call::write(caller.clone(), route, request(id, position_s)).idempotent();
        open_stream(cx, &self.0, call, ProstCodec::default, decode_reply).await
    }
}

impl HeartbeatStream {
    /// Receives the next reply; `None` when the backend has closed the stream. A failure is the last item.
    pub async fn recv(&mut self) -> Option<Result<HeartbeatReply, Failure>> {
        self.stream.recv().await.map(map_error)
    }

    /// Sends the caller's position. If the stream is closed, [`recv`](Self::recv) returns the reason.
    pub async fn send(&mut self, position_s: u32) {
        self.stream.send(request(&self.id, position_s)).await;
    }
}

fn map_error<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    map_past_the_end(outcome)
}

fn request(id: &ProductId, position_s: u32) -> proto::HeartbeatRequest {
    proto::HeartbeatRequest {
        product_id: id.to_string(),
        position_s,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "`open_stream` requires a Result")]
fn decode_reply(wire: proto::HeartbeatReply) -> Result<HeartbeatReply, &'static str> {
    Ok(HeartbeatReply {
        keep_playing: wire.keep_playing,
        next_in: Duration::from_secs(wire.next_in_s.into()),
    })
}
