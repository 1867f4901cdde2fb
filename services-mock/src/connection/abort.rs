//! Aborts a connection from one of its requests, for faults.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

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

    pub(super) async fn aborted(&self) {
        self.0.1.notified().await;
    }
}

/// A TCP stream that is closed with a reset if it was aborted.
pub(super) struct ResettableStream {
    pub(super) stream: TcpStream,
    pub(super) abort: ConnectionAbort,
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
