//! The timeout for the headers of a request (HTTP/1.1).
//!
//! hyper has one timer for the idle time before a request and for its headers. The idle time may be long, the headers
//! must not be slow. So this module measures the time from the first byte of the headers to their end. The connection
//! sees the first byte, and hyper calls the service when the headers are complete.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::config::Limits;
use super::linger::Linger;
use crate::inbound::{ConnectionActivity, InFlightRequest};
use crate::net::{Connection, IdleTimer};

/// The connection preface of HTTP/2 (RFC 9113 §3.4). On HTTP/2, hyper limits the headers.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The response to headers that do not arrive in time. Like hyper's own responses, it has no document.
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// No headers are being received.
const COMPLETE: u8 = 0;
/// The connection is receiving headers.
const RECEIVING: u8 = 1;
/// This connection is not tracked.
const UNTRACKED: u8 = 2;

/// The state of the headers on a connection. The I/O object and the service share it.
#[derive(Clone, Debug, Default)]
pub(super) struct HeaderTracker {
    state: Arc<AtomicU8>,
    requests: ConnectionActivity,
    /// Whether a part of the last request's body has not been read.
    body_incomplete: Arc<AtomicBool>,
}

impl HeaderTracker {
    /// Records that the headers are complete. The request is in flight until the result is dropped.
    pub(super) fn headers_complete(&self) -> InFlightRequest {
        if self.state.load(Relaxed) != UNTRACKED {
            self.state.store(COMPLETE, Relaxed);
        }
        self.requests.begin()
    }

    /// The flag of a request body that has not been read to its end.
    pub(super) fn body_incomplete(&self) -> &Arc<AtomicBool> {
        &self.body_incomplete
    }

    /// Whether the client may still be sending a request.
    fn is_receiving(&self) -> bool {
        match self.state.load(Relaxed) {
            UNTRACKED => false,
            RECEIVING => true,
            _ => self.body_incomplete.load(Relaxed),
        }
    }

    /// Stops tracking: the bytes are not HTTP/1.1 any more.
    pub(super) fn stop_tracking(&self) {
        self.state.store(UNTRACKED, Relaxed);
    }

    /// Resolves when the connection had no request for `idle`.
    pub(super) async fn wait_idle(&self, idle: Duration) {
        self.requests.wait_idle(idle).await;
    }

    /// Aborts every response of which the client reads nothing for `limit`. Never resolves.
    pub(super) async fn enforce_write_timeout(&self, limit: Duration) {
        self.requests.enforce_write_timeout(limit).await;
    }
}

/// A connection that fails with `TimedOut` when headers take longer than `header_read_timeout` (408), or when the client
/// reads nothing for `write_timeout`. If headers start during the previous response, their time starts when it ends:
/// the bytes could also be the rest of that request's body. Until then the idle timeout applies.
pub(super) struct TimedIo {
    connection: Connection,
    tracker: HeaderTracker,
    header_read_timeout: Duration,
    /// The time at which the first byte of the current headers arrived.
    started: Instant,
    /// The number of bytes received of the HTTP/2 preface; `None` once other bytes arrived.
    preface: Option<usize>,
    /// Created when the headers are incomplete after a read, which is rare.
    timer: Option<Pin<Box<Sleep>>>,
    /// Measures the time in which the client reads nothing.
    write_timeout: IdleTimer,
    /// Whether a part of the last response is still unsent.
    write_blocked: bool,
    linger_timeout: Duration,
    /// Set when the server has closed its own direction, and the client may still be sending.
    linger: Option<Linger>,
    /// The connection's permit, also after an upgrade to another protocol.
    _permit: OwnedSemaphorePermit,
}

impl TimedIo {
    pub(super) fn new(
        connection: Connection,
        permit: OwnedSemaphorePermit,
        tracker: HeaderTracker,
        limits: &Limits,
    ) -> Self {
        Self {
            _permit: permit,
            connection,
            tracker,
            header_read_timeout: limits.header_read_timeout,
            write_timeout: IdleTimer::new(limits.write_timeout),
            write_blocked: false,
            linger_timeout: limits.linger_timeout,
            linger: None,
            started: Instant::now(),
            preface: Some(0),
            timer: None,
        }
    }

    /// Applies the write timeout. A timeout first marks the requests as stalled, for their access log lines.
    fn on_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.write_blocked = result.is_pending();
        if result.is_ready() {
            self.write_timeout.reset();
            return result;
        }
        let elapsed = self.write_timeout.poll_elapsed(cx);
        if elapsed.is_ready() {
            self.tracker.requests.mark_stalled();
        }
        elapsed.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn on_read(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(received) = self.preface {
            let expected = &HTTP2_PREFACE[received..];
            let part = expected.len().min(bytes.len());
            self.preface = (bytes[..part] == expected[..part]).then_some(received + part);
            if self.preface == Some(HTTP2_PREFACE.len()) {
                self.preface = None;
                self.tracker.stop_tracking();
            }
        }
        if self.tracker.state.load(Relaxed) == COMPLETE && !self.tracker.requests.has_in_flight() {
            self.tracker.state.store(RECEIVING, Relaxed);
            self.started = Instant::now();
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
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.connection).poll_read(cx, buf);
        if polled.is_ready() {
            this.on_read(&buf.filled()[before..]);
            return polled;
        }
        if this.tracker.state.load(Relaxed) != RECEIVING {
            return polled;
        }
        let deadline = this.started + this.header_read_timeout;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(cx));
        // Best effort, and never inside another response.
        if !this.write_blocked {
            let _ = Pin::new(&mut this.connection).poll_write(cx, REQUEST_TIMEOUT);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.connection).poll_write(cx, buf);
        this.on_write(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.connection).poll_write_vectored(cx, bufs);
        this.on_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(cx)
    }

    /// Lingers after a request that was not read to its end.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.connection).poll_shutdown(cx))?;
            if !this.tracker.is_receiving() {
                return Poll::Ready(Ok(()));
            }
        }
        let timeout = this.linger_timeout;
        let linger = this.linger.get_or_insert_with(|| Linger::new(timeout));
        linger.poll(&mut this.connection, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const LIMITS: Limits = Limits {
        header_read_timeout: LIMIT,
        idle_timeout: LIMIT,
        write_timeout: LIMIT,
        linger_timeout: LIMIT,
        max_connections: 1,
    };

    fn timed_io(server: tokio::io::DuplexStream, tracker: &HeaderTracker) -> TimedIo {
        let permit = Arc::new(tokio::sync::Semaphore::new(1));
        let permit = permit.try_acquire_owned().unwrap();
        TimedIo::new(
            Connection::InMemory(Box::new(server)),
            permit,
            tracker.clone(),
            &LIMITS,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_idle_time_is_allowed_and_slow_headers_time_out() {
        let (mut client, server) = tokio::io::duplex(64);
        let tracker = HeaderTracker::default();
        let mut io = timed_io(server, &tracker);
        let start = Instant::now();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            io.read_to_end(&mut all).await.map(|_| all)
        });
        tokio::time::sleep(LIMIT * 6).await;
        for _ in 0..20 {
            let _ = client.write_all(b"x").await;
            tokio::time::sleep(LIMIT / 15).await;
        }
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= LIMIT * 7);
        drop(tracker);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_longer_and_the_next_headers_restart_the_timer() {
        let (mut client, server) = tokio::io::duplex(64);
        let tracker = HeaderTracker::default();
        let mut io = timed_io(server, &tracker);
        for _ in 0..3 {
            client.write_all(b"head").await.unwrap();
            io.read_exact(&mut [0; 4]).await.unwrap();
            let in_flight = tracker.headers_complete();
            let body = io.read_u8();
            let (body, ()) = tokio::join!(body, async {
                tokio::time::sleep(LIMIT * 2).await;
                client.write_all(b"b").await.unwrap();
            });
            assert_eq!(body.unwrap(), b'b');
            drop(in_flight);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn http2_connections_are_not_tracked() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut io = timed_io(server, &HeaderTracker::default());
        for part in [&HTTP2_PREFACE[..2], &HTTP2_PREFACE[2..]] {
            client.write_all(part).await.unwrap();
            io.read_exact(&mut vec![0; part.len()]).await.unwrap();
        }
        let (byte, ()) = tokio::join!(io.read_u8(), async {
            tokio::time::sleep(LIMIT * 2).await;
            client.write_all(b"x").await.unwrap();
        });
        assert_eq!(byte.unwrap(), b'x');
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_preface_times_out() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut io = timed_io(server, &HeaderTracker::default());
        let start = Instant::now();
        client.write_all(&HTTP2_PREFACE[..4]).await.unwrap();
        let error = io.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_write_without_progress_times_out() {
        let (mut client, server) = tokio::io::duplex(64);
        let tracker = HeaderTracker::default();
        let mut io = timed_io(server, &tracker);
        let in_flight = tracker.headers_complete();
        let writing = tokio::spawn(async move { io.write_all(&[1; 640]).await });
        for _ in 0..5 {
            tokio::time::sleep(LIMIT / 2).await;
            client.read_exact(&mut [0; 64]).await.unwrap();
        }
        assert!(!writing.is_finished() && !in_flight.is_stalled());
        let start = Instant::now();
        let error = writing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
        assert!(in_flight.is_stalled());
    }
}
