//! A connection that became a WebSocket (RFC 6455): bytes both ways until one side ends, both fall silent, or the
//! gateway leaves.

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

/// How long both sides may take to hand over the connection.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Whether a request asks for a WebSocket. Where the route allows none that is refused. Any other protocol is not known
/// here, and whoever offers it, as some clients offer HTTP/2 with their first request, is answered in the one it spoke
/// (RFC 9110 §7.8).
pub(super) fn requested_upgrade(
    allowed: bool,
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<bool, Error> {
    let asks = version == Version::HTTP_11
        && contains_token(headers, header::CONNECTION, "upgrade")
        && contains_token(headers, header::UPGRADE, "websocket");
    if !asks {
        return Ok(false);
    }
    if allowed && *method == Method::GET {
        return Ok(true);
    }
    let detail = "This address does not switch to another protocol.";
    Err(Error::new(codes::INVALID_REQUEST, detail))
}

/// Whether a backend's 101 switches to what was asked for.
pub(super) fn switched(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(is_websocket)
}

fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol
        .as_bytes()
        .eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// Says to the neighbour that the protocol changes.
pub(super) fn set_upgrade_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Carries bytes both ways to the end.
pub(super) async fn relay(
    client: OnUpgrade,
    backend: OnUpgrade,
    idle: Duration,
    leaving: CancellationToken,
) {
    let both = async { tokio::try_join!(client, backend) };
    let Ok(Ok((client, backend))) = timeout(UPGRADE_TIMEOUT, both).await else {
        return;
    };
    let latest = Arc::new(Mutex::new(Instant::now()));
    let mut client = ActivityTracked::new(TokioIo::new(client), &latest);
    let mut backend = ActivityTracked::new(TokioIo::new(backend), &latest);
    tokio::select! {
        biased;
        () = leaving.cancelled() => {}
        () = silence(&latest, idle) => {}
        // A side that ends badly has ended.
        _ = copy_bidirectional(&mut client, &mut backend) => {}
    }
}

/// Resolves when nothing was heard for `idle`.
async fn silence(latest: &Mutex<Instant>, idle: Duration) {
    loop {
        let until = *latest.lock() + idle;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// A side that notes when it was heard.
struct ActivityTracked<T> {
    io: T,
    latest: Arc<Mutex<Instant>>,
}

impl<T> ActivityTracked<T> {
    fn new(io: T, latest: &Arc<Mutex<Instant>>) -> Self {
        Self {
            io,
            latest: latest.clone(),
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
            *me.latest.lock() = Instant::now();
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
