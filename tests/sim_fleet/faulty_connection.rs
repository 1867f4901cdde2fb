//! One connection of a town: refused, lagging, cut in the middle, or reset with the place it leads to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bff_core::net::Connection;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, ReadHalf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Draw, How, Record};

/// The longest that what arrived is held back, in milliseconds: enough to change who comes first.
const MOST_LAG: u64 = 3;
/// The most read at once.
const PIECE: usize = 16 << 10;

/// What makes a connection frail: draws, and whether that is over.
pub(super) type NetworkFaults = (Draw, Arc<AtomicBool>);

/// Opens a connection to `name`. A frail one lags, and to a backend one in twenty is refused and another is cut after
/// some bytes of its answers.
pub(super) fn open(
    name: &str,
    frailty: Option<NetworkFaults>,
    pipe: DuplexStream,
    gone: CancellationToken,
    record: &Record,
) -> io::Result<Connection> {
    if gone.is_cancelled() {
        record.note(name, How::Refused);
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Only what is read is frail.
    let (pipe, written) = tokio::io::split(pipe);
    let mut line = Line {
        name: name.to_owned(),
        pipe,
        gone: Box::pin(gone.cancelled_owned()),
        record: record.clone(),
        frailty,
        left: None,
        held: None,
    };
    let gateway = fleet::GATEWAYS
        .iter()
        .any(|g| super::address(g.name) == name);
    if let Some((draw, _)) = line.frailty.as_mut().filter(|_| !gateway) {
        match draw.below(20) {
            0 => {
                record.note(name, How::Refused);
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            1 => line.left = Some(usize::try_from(draw.below(6000)).unwrap_or(0)),
            _ => {}
        }
    }
    Ok(Connection::InMemory(Box::new(tokio::io::join(
        line, written,
    ))))
}

/// The reading half of one.
struct Line {
    name: String,
    pipe: ReadHalf<DuplexStream>,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    record: Record,
    frailty: Option<NetworkFaults>,
    /// How many bytes are read before it is cut, if it is.
    left: Option<usize>,
    /// What arrived and is held back, and until when.
    held: Option<(Bytes, Option<Pin<Box<Sleep>>>)>,
}

impl Line {
    fn cut(&self) -> Poll<io::Result<()>> {
        self.record.note(&self.name, How::Cut);
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    /// Waits for something to arrive, and says for how long it is held back. Nothing is the end.
    fn arrive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Bytes, Duration)>> {
        let mut piece = [0; PIECE];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut piece))?;
        let lag = self.frailty.as_mut().map(|(draw, _)| draw.millis(MOST_LAG));
        let came = Bytes::copy_from_slice(piece.filled());
        Poll::Ready(Ok((came, lag.unwrap_or_default())))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let calm = |(_, calm): &mut NetworkFaults| calm.load(Ordering::Relaxed);
        if self.frailty.as_mut().is_some_and(calm) {
            (self.frailty, self.left) = (None, None);
        }
        if self.gone.as_mut().poll(cx).is_ready() || self.left == Some(0) {
            return self.cut();
        }
        if self.held.is_none() {
            let (came, lag) = ready!(self.arrive(cx))?;
            let until = (!lag.is_zero()).then(|| Box::pin(sleep(lag)));
            self.held = Some((came, until));
        }
        let line = &mut *self;
        if let Some((came, until)) = &mut line.held {
            if let Some(lagging) = until {
                ready!(lagging.as_mut().poll(cx));
                *until = None;
            }
            let most = came.len().min(buf.remaining());
            let most = line.left.map_or(most, |left| most.min(left));
            buf.put_slice(&came[..most]);
            came.advance(most);
            if came.is_empty() {
                line.held = None;
            }
            line.left = line.left.map(|left| left - most);
        }
        Poll::Ready(Ok(()))
    }
}
