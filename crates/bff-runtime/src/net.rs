//! The network as a parameter: TCP, or in-memory pipes for a simulation. The one listener, the one connector.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection as HyperConnection};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub use coarse_clock::now;
pub use connector::Connector;
pub use env::Env;
pub use worker_threads::Threads;
pub use worker_threads::worker_index;

mod coarse_clock;
mod connector;
mod env;
pub mod monotonic;
mod worker_threads;

/// Anything bytes can be read from and written to.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One connection, over whichever network.
pub enum Connection {
    /// A socket.
    Tcp(TcpStream),
    /// A pipe, perhaps wrapped by a fault.
    InMemory(Box<dyn Io>),
}

/// Where connections go.
#[derive(Clone, Debug)]
pub enum Net {
    /// The machine's network.
    Tcp,
    /// Pipes inside this process.
    InMemory(Arc<InMemoryNetwork>),
}

/// Where connections come from.
pub enum Listener {
    /// A bound socket.
    Tcp(TcpListener),
    /// The listening end of a name in [`InMemoryNetwork`].
    InMemory(mpsc::UnboundedReceiver<DuplexStream>),
}

/// What a simulation does to a new connection: refuses it, or wraps it.
pub type ConnectHook = dyn Fn(&str, u64, DuplexStream) -> io::Result<Connection> + Send + Sync;

/// The in-memory network: names that listen, and how many connections each was asked for.
pub struct InMemoryNetwork {
    listening: Mutex<BTreeMap<String, Listening>>,
    dialled: Box<ConnectHook>,
}

struct Listening {
    to: mpsc::UnboundedSender<DuplexStream>,
    dials: u64,
}

/// Bytes a pipe holds before its writer waits.
const PIPE_BYTES: usize = 64 << 10;

impl InMemoryNetwork {
    /// A network in which every connection is as `dialled` makes it from (name, ordinal, pipe).
    pub fn new(
        dialled: impl Fn(&str, u64, DuplexStream) -> io::Result<Connection> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            listening: Mutex::default(),
            dialled: Box::new(dialled),
        })
    }

    /// Starts listening on `name` (`host:port`); an earlier listener of that name is replaced.
    pub fn listen(&self, name: &str) -> Listener {
        let (to, from) = mpsc::unbounded_channel();
        let listening = Listening { to, dials: 0 };
        self.listening.lock().insert(name.to_owned(), listening);
        Listener::InMemory(from)
    }

    fn connect(&self, name: &str) -> io::Result<Connection> {
        let (to, ordinal) = {
            let mut listening = self.listening.lock();
            let end = listening
                .get_mut(name)
                .ok_or(io::ErrorKind::ConnectionRefused)?;
            end.dials += 1;
            (end.to.clone(), end.dials)
        };
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let wire = (self.dialled)(name, ordinal, near)?;
        to.send(far)
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(wire)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl fmt::Debug for InMemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipes")
    }
}

impl Net {
    /// Opens a connection to `host:port`. The caller bounds the time it may take.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one connector the ban points to"
    )]
    pub async fn connect(&self, authority: &str) -> io::Result<Connection> {
        match self {
            Self::Tcp => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::InMemory(pipes) => pipes.connect(authority),
        }
    }
}

impl Listener {
    /// The next connection, or `None` when this listener can give no more.
    pub async fn next(&mut self) -> Option<Connection> {
        match self {
            Self::Tcp(listener) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        return Some(Connection::Tcp(stream));
                    }
                    // Out of descriptors, or a connection that died in the queue: neither ends a server.
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            },
            Self::InMemory(from) => from
                .recv()
                .await
                .map(|io| Connection::InMemory(Box::new(io))),
        }
    }

    /// The address bound, for a socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::InMemory(_) => None,
        }
    }
}

impl Connection {
    /// The same connection, woken by the runtime that this is called in.
    pub fn rebind_to_runtime(self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream.into_std()?).map(Self::Tcp),
            pipe @ Self::InMemory(_) => Ok(pipe),
        }
    }

    /// The other side's address, for a socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::InMemory(_) => None,
        }
    }
}

/// Reads are handed to whichever stream is inside; so are writes, below.
impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::InMemory(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::InMemory(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Self::InMemory(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(s) => s.is_write_vectored(),
            Self::InMemory(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::InMemory(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::InMemory(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

impl HyperConnection for Connection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
