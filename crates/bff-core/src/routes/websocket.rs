//! WebSocket connections (RFC 6455): relays bytes in both directions until one side closes, both are idle, or the
//! gateway shuts down.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::headers::contains_token;
use crate::error::{Error, codes};

/// The time in which both upgrades must complete.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Whether a request is for a WebSocket. The error means that the route does not allow it. Other protocols are
/// ignored, so such a request is answered without an upgrade (RFC 9110 §7.8). Some clients offer h2c with their first
/// request.
pub(super) fn requested_upgrade(
    allowed: bool,
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<bool, Error> {
    let requested = version == Version::HTTP_11
        && contains_token(headers, &header::CONNECTION, "upgrade")
        && contains_token(headers, &header::UPGRADE, "websocket");
    if !requested {
        return Ok(false);
    }
    if allowed && *method == Method::GET {
        return Ok(true);
    }
    let detail = "This route does not support WebSocket.";
    Err(Error::new(codes::INVALID_REQUEST, detail))
}

/// Whether a backend's 101 switches to WebSocket.
pub(super) fn is_upgraded(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(is_websocket)
}

fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol
        .as_bytes()
        .eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// Sets `Connection` and `Upgrade`.
pub(super) fn set_upgrade_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Relays bytes in both directions until the connection ends.
pub(super) async fn relay(
    client: OnUpgrade,
    backend: OnUpgrade,
    idle_timeout: Duration,
    shutdown: CancellationToken,
) {
    let both = async { tokio::try_join!(client, backend) };
    let Ok(Ok((client, backend))) = timeout(UPGRADE_TIMEOUT, both).await else {
        return;
    };
    let last_read = Arc::new(Mutex::new(Instant::now()));
    let mut client = ActivityTracked::new(TokioIo::new(client), &last_read);
    let mut backend = ActivityTracked::new(TokioIo::new(backend), &last_read);
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = wait_idle(&last_read, idle_timeout) => {}
        // An error of one side ends the connection too.
        _ = copy_bidirectional(&mut client, &mut backend) => {}
    }
}

/// Waits until nothing was read for `idle_timeout`.
async fn wait_idle(last_read: &Mutex<Instant>, idle_timeout: Duration) {
    loop {
        let until = *last_read.lock() + idle_timeout;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// One side of the connection. Records the time of the last read.
struct ActivityTracked<T> {
    io: T,
    last_read: Arc<Mutex<Instant>>,
}

impl<T> ActivityTracked<T> {
    fn new(io: T, last_read: &Arc<Mutex<Instant>>) -> Self {
        Self {
            io,
            last_read: last_read.clone(),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ActivityTracked<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let polled = Pin::new(&mut me.io).poll_read(cx, buf);
        if polled.is_ready() {
            *me.last_read.lock() = Instant::now();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ActivityTracked<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
