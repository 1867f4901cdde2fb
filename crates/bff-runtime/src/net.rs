//! The network as a parameter: TCP, or in-memory pipes for a simulation. All listeners and connectors are here.

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

pub use connector::Connector;
pub use env::Env;
pub use idle_timer::IdleTimer;
pub use worker_threads::WorkerThreads;
pub use worker_threads::worker_index;

mod connector;
mod env;
mod idle_timer;
mod worker_threads;

/// A byte stream.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One connection.
pub enum Connection {
    /// A socket.
    Tcp(TcpStream),
    /// A pipe, which a fault may wrap.
    InMemory(Box<dyn Io>),
}

/// The network to connect over.
#[derive(Clone, Debug)]
pub enum Net {
    /// The machine's network.
    Tcp,
    /// Pipes inside this process.
    InMemory(Arc<InMemoryNetwork>),
}

/// A source of incoming connections.
pub enum Listener {
    /// A bound socket.
    Tcp(TcpListener),
    /// The listener of a name in an [`InMemoryNetwork`].
    InMemory(mpsc::UnboundedReceiver<DuplexStream>),
}

/// A hook for new connections of a simulation, called with name, ordinal and pipe. It refuses or wraps the connection.
pub type ConnectHook = dyn Fn(&str, u64, DuplexStream) -> io::Result<Connection> + Send + Sync;

/// The in-memory network: its listeners, and the number of connections to each.
pub struct InMemoryNetwork {
    listeners: Mutex<BTreeMap<String, ListenerEntry>>,
    on_connect: Box<ConnectHook>,
}

struct ListenerEntry {
    sender: mpsc::UnboundedSender<DuplexStream>,
    connections: u64,
}

/// Bytes that a pipe buffers before its writer waits.
const PIPE_BYTES: usize = 64 << 10;

impl InMemoryNetwork {
    /// A network that passes every new connection to `on_connect`.
    pub fn new(
        on_connect: impl Fn(&str, u64, DuplexStream) -> io::Result<Connection> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            listeners: Mutex::default(),
            on_connect: Box::new(on_connect),
        })
    }

    /// Listens on `name` (`host:port`). An earlier listener of that name is replaced.
    pub fn listen(&self, name: &str) -> Listener {
        let (sender, receiver) = mpsc::unbounded_channel();
        let entry = ListenerEntry {
            sender,
            connections: 0,
        };
        self.listeners.lock().insert(name.to_owned(), entry);
        Listener::InMemory(receiver)
    }

    fn connect(&self, name: &str) -> io::Result<Connection> {
        let (sender, ordinal) = {
            let mut listeners = self.listeners.lock();
            let entry = listeners
                .get_mut(name)
                .ok_or(io::ErrorKind::ConnectionRefused)?;
            entry.connections += 1;
            (entry.sender.clone(), entry.connections)
        };
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let connection = (self.on_connect)(name, ordinal, near)?;
        sender
            .send(far)
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(connection)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl fmt::Debug for InMemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemoryNetwork")
    }
}

impl Net {
    /// Connects to `host:port`. The caller must limit the time.
    #[expect(clippy::disallowed_methods, reason = "the lint recommends this method")]
    pub async fn connect(&self, authority: &str) -> io::Result<Connection> {
        match self {
            Self::Tcp => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::InMemory(network) => network.connect(authority),
        }
    }
}

impl Listener {
    /// The next connection; `None` if there will be no more.
    pub async fn next(&mut self) -> Option<Connection> {
        match self {
            Self::Tcp(listener) => loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        return Some(Connection::Tcp(stream));
                    }
                    // No file descriptors left, or a connection that was reset in the backlog: the server continues.
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            },
            Self::InMemory(receiver) => receiver
                .recv()
                .await
                .map(|io| Connection::InMemory(Box::new(io))),
        }
    }

    /// The bound address of a socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::InMemory(_) => None,
        }
    }
}

impl Connection {
    /// The same connection, registered with the current runtime.
    pub fn rebind_to_runtime(self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream.into_std()?).map(Self::Tcp),
            pipe @ Self::InMemory(_) => Ok(pipe),
        }
    }

    /// The peer address of a socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::InMemory(_) => None,
        }
    }
}

/// Forwards to the inner stream, as do the writes below.
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
