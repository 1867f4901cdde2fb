//! A proxy between two real sockets, and what it does to the bytes that go back: the faults that HTTP knows nothing of.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The most taken from a socket at once.
const PIECE: usize = 16 << 10;
/// How often a narrow connection lets a piece through.
const TICK: Duration = Duration::from_millis(20);

/// What befalls every connection, those included that are open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ill {
    /// Nothing.
    None,
    /// What comes back is held for so long, piece by piece.
    Late(Duration),
    /// So many bytes a second come back.
    Narrow(usize),
    /// One byte at a time comes back, with so long between them.
    Drip(Duration),
    /// So many more bytes come back, and then the end.
    Truncate(usize),
    /// The end comes back at once; what is sent there still arrives.
    HalfClose,
    /// The connection is reset: not ended, but gone.
    Reset,
    /// Nothing is forwarded any more, either way, and nobody is told.
    Hole,
}

/// A proxy that runs until it is dropped, and its connections with it.
pub(super) struct Proxy {
    url: String,
    ill: watch::Sender<watch::Sender<Ill>>,
    /// What holds connections for ever in a hole.
    buried: Vec<watch::Sender<Ill>>,
    _running: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port, and connects each who comes to `target`, a URL.
    pub(super) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (ill, ills) = watch::channel(watch::Sender::new(Ill::None));
        let mut running = JoinSet::new();
        running.spawn(accept(listener, target.replace("http://", ""), ills));
        Self {
            url,
            ill,
            buried: Vec::new(),
            _running: running,
        }
    }

    /// Where it listens, without a final slash.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// From now on this befalls every connection that is not buried.
    pub(super) fn set(&self, ill: Ill) {
        self.ill.borrow().send_replace(ill);
    }

    /// Whether a connection is open that is not buried.
    pub(super) fn is_open(&self) -> bool {
        self.ill.borrow().receiver_count() > 0
    }

    /// Lets the open connections disappear in a hole for ever; new ones are well.
    pub(super) fn bury(&mut self) {
        let well = watch::Sender::new(Ill::None);
        let open = self.ill.send_replace(well);
        open.send_replace(Ill::Hole);
        self.buried.push(open);
    }
}

async fn accept(listener: TcpListener, target: String, ills: watch::Receiver<watch::Sender<Ill>>) {
    let mut carried = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        carried.spawn(carry(near, target.clone(), ills.borrow().subscribe()));
        while carried.try_join_next().is_some() {}
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are no gateways")]
async fn carry(mut near: TcpStream, target: String, mut ill: watch::Receiver<Ill>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    near.set_nodelay(true).unwrap();
    let (asked, to_near) = near.split();
    let (answered, to_far) = far.split();
    let (there, back) = (ill.clone(), ill.clone());
    let reset = tokio::select! {
        biased;
        gone = comes(&mut ill, Ill::Reset) => gone,
        // Each way ends for itself, a failure ends both.
        _ = async { tokio::try_join!(ask(asked, to_far, there), response(answered, to_near, back)) } => false,
    };
    if reset {
        // Whatever was still to be sent is dropped with it.
        near.set_zero_linger().ok();
    }
}

/// Waits for an ill; false when the proxy ends first.
async fn comes(ills: &mut watch::Receiver<Ill>, wanted: Ill) -> bool {
    ills.wait_for(|ill| *ill == wanted).await.is_ok()
}

/// The way there is only ever blocked.
async fn ask(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut ill: watch::Receiver<Ill>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let n = from.read(&mut piece).await?;
        (ill.wait_for(|ill| *ill != Ill::Hole).await).map_err(io::Error::other)?;
        match n {
            0 => return to.shutdown().await,
            n => to.write_all(&piece[..n]).await?,
        }
    }
}

/// The way back, and all that may befall it.
async fn response(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut ill: watch::Receiver<Ill>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut halves = ill.clone();
    // Of those that may pass before the end.
    let mut passed = 0;
    loop {
        let n = tokio::select! {
            biased;
            _ = comes(&mut halves, Ill::HalfClose) => return to.shutdown().await,
            n = from.read(&mut piece) => n?,
        };
        let mut left = &piece[..n];
        while !left.is_empty() || n == 0 {
            if ill.has_changed().map_err(io::Error::other)? {
                passed = 0;
            }
            let now = *ill.borrow_and_update();
            let (most, pause) = match now {
                Ill::None => (PIECE, Duration::ZERO),
                Ill::Late(pause) => (PIECE, pause),
                Ill::Narrow(rate) => (rate / 50, TICK),
                Ill::Drip(pause) => (1, pause),
                Ill::Truncate(bytes) if passed == bytes => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ill::Truncate(bytes) => (bytes - passed, Duration::ZERO),
                Ill::HalfClose | Ill::Reset => return to.shutdown().await,
                Ill::Hole => {
                    ill.changed().await.map_err(io::Error::other)?;
                    continue;
                }
            };
            // What is held is held no longer than the ill lasts.
            if !pause.is_zero() && timeout(pause, ill.changed()).await.is_ok() {
                ill.mark_changed();
                continue;
            }
            if n == 0 {
                return to.shutdown().await;
            }
            let (piece, rest) = left.split_at(most.clamp(1, left.len()));
            to.write_all(piece).await?;
            passed += piece.len();
            left = rest;
        }
    }
}
