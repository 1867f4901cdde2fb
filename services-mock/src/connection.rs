//! Serving: one connection over anything that reads and writes, and the accept loop over TCP.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::backend::Backend;
use crate::mocks::Mocks;

/// How long a connection may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// How long open calls may take once the accept loop was told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// The pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves one HTTP/1.1 or h2c connection to a backend until it closes.
pub async fn connection<IO>(mocks: &Mocks, backend: Backend, io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    drive(mocks.app(backend), io, Hangup::default(), None).await;
}

/// Serves one HTTP connection to the control port until it closes.
pub async fn control_connection<IO>(mocks: &Mocks, io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    drive(mocks.control(), io, Hangup::default(), None).await;
}

/// Serves a backend on a bound listener until `stop`, then gives open calls two seconds.
pub async fn serve(
    mocks: Mocks,
    backend: Backend,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) {
    accept(mocks.app(backend), listener, stop).await;
}

/// Serves the control port on a bound listener until `stop`.
pub async fn serve_control(mocks: Mocks, listener: TcpListener, stop: impl Future<Output = ()>) {
    accept(mocks.control(), listener, stop).await;
}

async fn accept(app: Router, listener: TcpListener, stop: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Without it small answers wait for the peer's acknowledgement; not vital when refused.
                    stream.set_nodelay(true).ok();
                    let hangup = Hangup::default();
                    let io = Tcp { stream, hangup: hangup.clone() };
                    connections.spawn(drive(app.clone(), io, hangup, Some(graceful.watcher())));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    // What is still open after the grace is dropped with the set.
    tokio::time::timeout(GRACE, graceful.shutdown()).await.ok();
}

/// A fresh hang-up for each connection travels with every request of it.
async fn drive<IO>(app: Router, io: IO, hangup: Hangup, graceful: Option<Watcher>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let for_requests = hangup.clone();
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(for_requests.clone());
        app.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let connection = builder
        .serve_connection(TokioIo::new(io), service)
        .into_owned();
    let serving = async {
        // A connection that ends badly is the peer's matter: every fault and hang-up ends one so.
        match graceful {
            Some(watcher) => watcher.watch(connection).await.ok(),
            None => connection.await.ok(),
        }
    };
    tokio::select! {
        biased;
        () = hangup.wait() => {}
        _ = serving => {}
    }
}

/// Ends the connection of a request from within the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hangup(Arc<(AtomicBool, Notify)>);

impl Hangup {
    /// Drops the connection, with everything on it.
    pub(crate) fn cut(&self) {
        self.0.0.store(true, Ordering::Release);
        self.0.1.notify_one();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }

    async fn wait(&self) {
        self.0.1.notified().await;
    }
}

/// A TCP stream that ends with a reset, not a farewell, when it was cut.
struct Tcp {
    stream: TcpStream,
    hangup: Hangup,
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if self.hangup.is_cut() {
            // A socket that is gone already cannot be reset; it is gone all the same.
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
