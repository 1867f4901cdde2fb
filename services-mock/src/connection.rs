//! Serves one connection over any byte stream, and accepts connections over TCP.

pub(crate) mod abort;

use std::future::Future;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::backend::Backend;
use crate::mocks::Mocks;

use abort::{ConnectionAbort, ResettableStream};

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
