//! A connection that gives up on a request's head which comes too slowly.
//!
//! hyper has one timer for the silence before a head and for the head itself. Silence may be long (a connection kept
//! for the next request); a head may not. So the time from the first byte of a head to its end is measured here: the
//! connection sees the bytes come, and the service is called when the head is whole.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::accept::Limits;
use super::write_timeout::WriteTimeout;
use crate::inbound::{ConnectionActivity, InFlightRequest};
use crate::net::{self, Connection};

/// What an HTTP/2 client sends first (RFC 9113 §3.4): there, bytes come at any time and heads are hyper's to bound.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No head is on its way, or none that is known of.
const WHOLE: u8 = 0;
/// A head is coming.
const COMING: u8 = 1;
/// Heads are not watched on this connection.
const UNWATCHED: u8 = 2;

/// The heads of a connection; shared by its bytes and its service.
#[derive(Clone, Debug, Default)]
pub(super) struct HeaderTracker {
    state: Arc<AtomicU8>,
    requests: ConnectionActivity,
}

impl HeaderTracker {
    /// A head is whole, and its request is being answered until what comes back is dropped.
    pub(super) fn headers_complete(&self) -> InFlightRequest {
        if self.state.load(Relaxed) != UNWATCHED {
            self.state.store(WHOLE, Relaxed);
        }
        self.requests.begin()
    }

    /// From now on the bytes are no heads.
    pub(super) fn stop_tracking(&self) {
        self.state.store(UNWATCHED, Relaxed);
    }

    /// Resolves once the connection has had no request for so long.
    pub(super) async fn wait_idle(&self, idle: Duration) {
        self.requests.wait_idle(idle).await;
    }

    /// Gives up every answer of which nothing was taken for so long, for ever.
    pub(super) async fn enforce_write_timeout(&self, limit: Duration) {
        self.requests.enforce_write_timeout(limit).await;
    }
}

/// A connection whose heads each come within `head_timeout`, or it ends. It ends too when nothing written to it is taken
/// for `write_timeout`. A head whose first bytes come while an answer is still
/// on its way out cannot be told from the rest of that request; it has the time of an idle connection.
pub(super) struct TimedIo {
    wire: Connection,
    heads: HeaderTracker,
    limit: Duration,
    began: Instant,
    /// How much of HTTP/2's preface has come; nothing else came as long as there is some of it.
    preface: Option<usize>,
    /// Made when a head came in part only, which is rare.
    timer: Option<Pin<Box<Sleep>>>,
    stall: WriteTimeout,
    /// Held for as long as there is a socket, whatever is spoken on it.
    _room: OwnedSemaphorePermit,
}

impl TimedIo {
    pub(super) fn new(
        wire: Connection,
        room: OwnedSemaphorePermit,
        heads: HeaderTracker,
        limits: &Limits,
    ) -> Self {
        Self {
            _room: room,
            wire,
            heads,
            limit: limits.head_timeout,
            stall: WriteTimeout::new(limits.write_timeout),
            began: Instant::now(),
            preface: Some(0),
            timer: None,
        }
    }

    /// What became of a write. Why the connection ends is noted first, for the lines of what it was answering.
    fn on_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let waited = written.is_pending();
        let written = self.stall.bound(cx, written);
        if waited && written.is_ready() {
            self.heads.requests.mark_stalled();
        }
        written
    }

    fn on_read(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(came) = self.preface {
            let wanted = &HTTP_2[came..];
            let part = wanted.len().min(bytes.len());
            self.preface = (bytes[..part] == wanted[..part]).then_some(came + part);
            if self.preface == Some(HTTP_2.len()) {
                self.preface = None;
                self.heads.stop_tracking();
            }
        }
        if self.heads.state.load(Relaxed) == WHOLE && !self.heads.requests.has_in_flight() {
            self.heads.state.store(COMING, Relaxed);
            self.began = net::now();
            self.timer = None;
        }
    }
}

impl AsyncRead for TimedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut me.wire).poll_read(cx, buf);
        if polled.is_ready() {
            me.on_read(&buf.filled()[before..]);
            return polled;
        }
        if me.heads.state.load(Relaxed) != COMING {
            return polled;
        }
        let until = me.began + me.limit;
        let timer = me.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let written = Pin::new(&mut me.wire).poll_write(cx, buf);
        me.on_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let written = Pin::new(&mut me.wire).poll_write_vectored(cx, bufs);
        me.on_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const LIMITS: Limits = Limits {
        head_timeout: LIMIT,
        idle_timeout: LIMIT,
        write_timeout: LIMIT,
        max_connections: 1,
    };

    fn watched(server: tokio::io::DuplexStream, heads: &HeaderTracker) -> TimedIo {
        let room = Arc::new(tokio::sync::Semaphore::new(1));
        let room = room.try_acquire_owned().unwrap();
        TimedIo::new(
            Connection::InMemory(Box::new(server)),
            room,
            heads.clone(),
            &LIMITS,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_borne_and_a_dribbled_head_is_not() {
        let (mut client, server) = tokio::io::duplex(64);
        let heads = HeaderTracker::default();
        let mut watched = watched(server, &heads);
        let began = Instant::now();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            watched.read_to_end(&mut all).await.map(|_| all)
        });
        tokio::time::sleep(LIMIT * 6).await;
        for _ in 0..20 {
            let _ = client.write_all(b"x").await;
            tokio::time::sleep(LIMIT / 15).await;
        }
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= LIMIT * 7);
        drop(heads);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_longer_and_the_next_head_begins_anew() {
        let (mut client, server) = tokio::io::duplex(64);
        let heads = HeaderTracker::default();
        let mut watched = watched(server, &heads);
        for _ in 0..3 {
            client.write_all(b"head").await.unwrap();
            watched.read_exact(&mut [0; 4]).await.unwrap();
            let underway = heads.headers_complete();
            let body = watched.read_u8();
            let (body, ()) = tokio::join!(body, async {
                tokio::time::sleep(LIMIT * 2).await;
                client.write_all(b"b").await.unwrap();
            });
            assert_eq!(body.unwrap(), b'b');
            drop(underway);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn http_2_is_left_to_hyper() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut watched = watched(server, &HeaderTracker::default());
        for part in [&HTTP_2[..2], &HTTP_2[2..]] {
            client.write_all(part).await.unwrap();
            watched.read_exact(&mut vec![0; part.len()]).await.unwrap();
        }
        let (byte, ()) = tokio::join!(watched.read_u8(), async {
            tokio::time::sleep(LIMIT * 2).await;
            client.write_all(b"x").await.unwrap();
        });
        assert_eq!(byte.unwrap(), b'x');
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_is_a_head_that_dribbles() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut watched = watched(server, &HeaderTracker::default());
        let began = Instant::now();
        client.write_all(&HTTP_2[..4]).await.unwrap();
        let error = watched.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_gets_on_may_take_for_ever_and_one_that_does_not_may_not() {
        let (mut client, server) = tokio::io::duplex(64);
        let heads = HeaderTracker::default();
        let mut watched = watched(server, &heads);
        let underway = heads.headers_complete();
        let writing = tokio::spawn(async move { watched.write_all(&[1; 640]).await });
        for _ in 0..5 {
            tokio::time::sleep(LIMIT / 2).await;
            client.read_exact(&mut [0; 64]).await.unwrap();
        }
        assert!(!writing.is_finished() && !underway.is_stalled());
        let began = Instant::now();
        let error = writing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
        assert!(underway.is_stalled());
    }
}
