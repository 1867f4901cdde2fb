//! While a caller watches: how far they are, and whether to go on.

use std::time::Duration;

use bff_core::error::codes;
use bff_core::grpc::{Call, Conversation, converse};
use bff_core::{Caller, Cx, Failure};
use tonic_prost::ProstCodec;

use super::{PlaybackClient, proto};
use crate::product::ProductId;
use crate::refusal;

/// What a device learns from saying how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Going {
    /// False: stop playing.
    pub keep_playing: bool,
    /// When to say it again.
    pub next_in: Duration,
}

/// Whether a position was refused because the title is over before it.
pub fn is_past_the_end(failure: &Failure) -> bool {
    let told = failure.told();
    told.is_some_and(|error| error.code() == codes::VALIDATION_FAILED)
}

/// A caller who watches, for as long as this is kept; dropping it hangs up.
#[derive(Debug)]
pub struct Watching {
    id: ProductId,
    talk: Conversation<proto::HeartbeatRequest, Going>,
}

impl PlaybackClient {
    /// Says once how far the caller has come, which is remembered, and learns whether to go on. A second time changes
    /// nothing. A position past the end is refused with 422.
    pub async fn heartbeat(
        &self,
        cx: &Cx,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<Going, Failure> {
        let outcome = match self.open(cx, caller, id, position_s).await {
            Ok(talk) => talk.reply().await,
            Err(failure) => Err(failure),
        };
        told(outcome)
    }

    /// Begins to say how far the caller has come, as often as there is something to say.
    pub async fn watch(
        &self,
        cx: &Cx,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<Watching, Failure> {
        let talk = told(self.open(cx, caller, id, position_s).await)?;
        let id = id.clone();
        Ok(Watching { id, talk })
    }

    async fn open(
        &self,
        cx: &Cx,
        caller: &Caller,
        id: &ProductId,
        position_s: u32,
    ) -> Result<Conversation<proto::HeartbeatRequest, Going>, Failure> {
        let route = "/playback.v1.Playback/Heartbeat";
        let call = Call::write(caller.clone(), route, beat(id, position_s)).repeatable();
        converse(cx, &self.0, call, ProstCodec::default, going).await
    }
}

impl Watching {
    /// What the backend says to what was said last; none once it has ended the conversation well. A failure is the
    /// last thing heard.
    pub async fn hear(&mut self) -> Option<Result<Going, Failure>> {
        self.talk.hear().await.map(told)
    }

    /// Says how far the caller is now. If nobody listens any more, [`hear`](Self::hear) knows why.
    pub async fn say(&mut self, position_s: u32) {
        self.talk.say(beat(&self.id, position_s)).await;
    }
}

fn told<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    refusal::told(outcome, 422, codes::VALIDATION_FAILED)
}

fn beat(id: &ProductId, position_s: u32) -> proto::HeartbeatRequest {
    proto::HeartbeatRequest {
        product_id: id.to_string(),
        position_s,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what `converse` asks for")]
fn going(wire: proto::HeartbeatReply) -> Result<Going, &'static str> {
    Ok(Going {
        keep_playing: wire.keep_playing,
        next_in: Duration::from_secs(wire.next_in_s.into()),
    })
}
