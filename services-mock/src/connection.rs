//! Serves one connection over any byte stream, and accepts connections over TCP.

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

/// The maximum time to receive a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// The maximum time for open calls after the accept loop has stopped.
const GRACE: Duration = Duration::from_secs(2);
/// The pause after a failed accept, for instance without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves one HTTP/1.1 or h2c connection to a backend until it closes.
pub async fn connection<IO>(mocks: &Mocks, backend: Backend, io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    drive(mocks.app(backend), io, ConnectionAbort::default(), None).await;
}

/// Serves one HTTP connection to the control port until it closes.
pub async fn control_connection<IO>(mocks: &Mocks, io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    drive(mocks.control(), io, ConnectionAbort::default(), None).await;
}

/// Serves a backend on a bound listener until `stop`. Then open calls have two seconds to finish.
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
                    // Without it, Nagle's algorithm delays small responses. An error is harmless.
                    stream.set_nodelay(true).ok();
                    let abort = ConnectionAbort::default();
                    let io = ResettableStream { stream, abort: abort.clone() };
                    connections.spawn(drive(app.clone(), io, abort, Some(graceful.watcher())));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    // Connections that are still open after the grace period are dropped with the set.
    tokio::time::timeout(GRACE, graceful.shutdown()).await.ok();
}

/// Serves one connection. Each of its requests carries the connection's `abort` as an extension.
async fn drive<IO>(app: Router, io: IO, abort: ConnectionAbort, graceful: Option<Watcher>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request_abort = abort.clone();
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(request_abort.clone());
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
        // Errors are expected: every injected fault and every disconnect ends the connection with one.
        match graceful {
            Some(watcher) => watcher.watch(connection).await.ok(),
            None => connection.await.ok(),
        }
    };
    tokio::select! {
        biased;
        () = abort.aborted() => {}
        _ = serving => {}
    }
}

/// Aborts a connection from one of its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionAbort(Arc<(AtomicBool, Notify)>);

impl ConnectionAbort {
    /// Drops the connection with all its requests.
    pub(crate) fn abort(&self) {
        self.0.0.store(true, Ordering::Release);
        self.0.1.notify_one();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }

    async fn aborted(&self) {
        self.0.1.notified().await;
    }
}

/// A TCP stream that is closed with a reset if it was aborted.
struct ResettableStream {
    stream: TcpStream,
    abort: ConnectionAbort,
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        if self.abort.is_aborted() {
            // Fails only for a closed socket.
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ResettableStream {
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
