//! A TCP proxy that injects connection faults below HTTP into the responses.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The most bytes of one read.
const CHUNK_BYTES: usize = 16 << 10;
/// The interval between two chunks of a narrow connection.
const NARROW_INTERVAL: Duration = Duration::from_millis(20);

/// The fault of every connection, also of open ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyFault {
    None,
    /// Delays each chunk of the response.
    Late(Duration),
    /// Limits the response to this number of bytes per second.
    Narrow(usize),
    /// Forwards one byte of the response per interval.
    Drip(Duration),
    /// Forwards this number of bytes and then ends the response.
    Truncate(usize),
    /// Ends the response at once; requests are still forwarded.
    HalfClose,
    /// Resets the connection.
    Reset,
    /// A black hole: forwards nothing in either direction, without an error.
    Hole,
}

/// A running proxy. Dropping it aborts its connections.
pub(super) struct Proxy {
    url: String,
    fault: watch::Sender<watch::Sender<ProxyFault>>,
    /// The faults of isolated connections, which stay in a black hole.
    isolated: Vec<watch::Sender<ProxyFault>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port and forwards each connection to `target`, a URL.
    pub(super) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (fault, faults) = watch::channel(watch::Sender::new(ProxyFault::None));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target.replace("http://", ""), faults));
        Self {
            url,
            fault,
            isolated: Vec::new(),
            _tasks: tasks,
        }
    }

    /// The proxy's URL, without a trailing slash.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sets the fault of every connection that is not isolated.
    pub(super) fn set_fault(&self, fault: ProxyFault) {
        self.fault.borrow().send_replace(fault);
    }

    /// Whether a connection is open that is not isolated.
    pub(super) fn is_open(&self) -> bool {
        self.fault.borrow().receiver_count() > 0
    }

    /// Puts the open connections into a black hole for ever. New connections have no fault.
    pub(super) fn isolate_connections(&mut self) {
        let healthy = watch::Sender::new(ProxyFault::None);
        let open = self.fault.send_replace(healthy);
        open.send_replace(ProxyFault::Hole);
        self.isolated.push(open);
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    faults: watch::Receiver<watch::Sender<ProxyFault>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(forward(client, target.clone(), faults.borrow().subscribe()));
        while connections.try_join_next().is_some() {}
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn forward(mut client: TcpStream, target: String, mut fault: watch::Receiver<ProxyFault>) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (request_fault, response_fault) = (fault.clone(), fault.clone());
    let reset = tokio::select! {
        biased;
        occurred = wait_for_fault(&mut fault, ProxyFault::Reset) => occurred,
        // Each direction ends by itself; an error ends both.
        _ = async { tokio::try_join!(forward_requests(from_client, to_server, request_fault), forward_responses(from_server, to_client, response_fault)) } => false,
    };
    if reset {
        // Bytes that are not sent yet are dropped.
        client.set_zero_linger().ok();
    }
}

/// Waits for a fault. Returns false if the proxy ends first.
async fn wait_for_fault(faults: &mut watch::Receiver<ProxyFault>, expected: ProxyFault) -> bool {
    faults.wait_for(|fault| *fault == expected).await.is_ok()
}

/// Forwards requests. Only a black hole blocks them.
async fn forward_requests(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut fault: watch::Receiver<ProxyFault>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let n = from.read(&mut chunk).await?;
        (fault.wait_for(|fault| *fault != ProxyFault::Hole).await).map_err(io::Error::other)?;
        match n {
            0 => return to.shutdown().await,
            n => to.write_all(&chunk[..n]).await?,
        }
    }
}

/// Forwards responses with the current fault.
async fn forward_responses(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut fault: watch::Receiver<ProxyFault>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut half_close = fault.clone();
    // The bytes since the fault last changed.
    let mut forwarded = 0;
    loop {
        let n = tokio::select! {
            biased;
            _ = wait_for_fault(&mut half_close, ProxyFault::HalfClose) => return to.shutdown().await,
            n = from.read(&mut chunk) => n?,
        };
        let mut unsent = &chunk[..n];
        while !unsent.is_empty() || n == 0 {
            if fault.has_changed().map_err(io::Error::other)? {
                forwarded = 0;
            }
            let now = *fault.borrow_and_update();
            let (max, pause) = match now {
                ProxyFault::None => (CHUNK_BYTES, Duration::ZERO),
                ProxyFault::Late(pause) => (CHUNK_BYTES, pause),
                ProxyFault::Narrow(rate) => (rate / 50, NARROW_INTERVAL),
                ProxyFault::Drip(pause) => (1, pause),
                ProxyFault::Truncate(bytes) if forwarded == bytes => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                ProxyFault::Truncate(bytes) => (bytes - forwarded, Duration::ZERO),
                ProxyFault::HalfClose | ProxyFault::Reset => return to.shutdown().await,
                ProxyFault::Hole => {
                    fault.changed().await.map_err(io::Error::other)?;
                    continue;
                }
            };
            // A delay ends when the fault changes.
            if !pause.is_zero() && timeout(pause, fault.changed()).await.is_ok() {
                fault.mark_changed();
                continue;
            }
            if n == 0 {
                return to.shutdown().await;
            }
            let (chunk, rest) = unsent.split_at(max.clamp(1, unsent.len()));
            to.write_all(chunk).await?;
            forwarded += chunk.len();
            unsent = rest;
        }
    }
}
