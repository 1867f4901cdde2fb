//! One connection of the sim fleet: refused, delayed, cut in the middle, or reset when its server stops.

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

use super::{ConnectionError, SeededRng, TrafficRecord};

/// The longest delay of a read, in milliseconds: enough to change the order of concurrent events.
const MAX_LAG_MS: u64 = 3;
/// The most bytes of one read.
const CHUNK_BYTES: usize = 16 << 10;

/// The random source of a connection's faults, and the flag that ends the faults.
pub(super) type NetworkFaults = (SeededRng, Arc<AtomicBool>);

/// Opens a connection to `name`. With faults, every read is delayed. Of the connections to backends, one in twenty is
/// refused, and one in twenty is cut after some bytes of the responses.
pub(super) fn open(
    name: &str,
    faults: Option<NetworkFaults>,
    pipe: DuplexStream,
    stopped: CancellationToken,
    record: &TrafficRecord,
) -> io::Result<Connection> {
    if stopped.is_cancelled() {
        record.record_failure(name, ConnectionError::Refused);
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Only the reading half has faults.
    let (pipe, writer) = tokio::io::split(pipe);
    let mut reader = FaultyReader {
        name: name.to_owned(),
        pipe,
        stopped: Box::pin(stopped.cancelled_owned()),
        record: record.clone(),
        faults,
        bytes_until_cut: None,
        delayed: None,
    };
    let is_gateway = fleet::GATEWAYS
        .iter()
        .any(|g| super::address(g.name) == name);
    if let Some((rng, _)) = reader.faults.as_mut().filter(|_| !is_gateway) {
        match rng.below(20) {
            0 => {
                record.record_failure(name, ConnectionError::Refused);
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            1 => reader.bytes_until_cut = Some(usize::try_from(rng.below(6000)).unwrap_or(0)),
            _ => {}
        }
    }
    Ok(Connection::InMemory(Box::new(tokio::io::join(
        reader, writer,
    ))))
}

/// The reading half of a connection.
struct FaultyReader {
    name: String,
    pipe: ReadHalf<DuplexStream>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    record: TrafficRecord,
    faults: Option<NetworkFaults>,
    /// The bytes that are still read before the cut; `None` without a cut.
    bytes_until_cut: Option<usize>,
    /// Bytes that arrived, and the delay before they are read.
    delayed: Option<(Bytes, Option<Pin<Box<Sleep>>>)>,
}

impl FaultyReader {
    fn cut(&self) -> Poll<io::Result<()>> {
        self.record.record_failure(&self.name, ConnectionError::Cut);
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    /// Reads bytes from the pipe and returns their delay. No bytes mean the end.
    fn poll_pipe(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Bytes, Duration)>> {
        let mut chunk = [0; CHUNK_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut chunk))?;
        let lag = (self.faults.as_mut()).map(|(rng, _)| rng.up_to_millis(MAX_LAG_MS));
        let bytes = Bytes::copy_from_slice(chunk.filled());
        Poll::Ready(Ok((bytes, lag.unwrap_or_default())))
    }
}

impl AsyncRead for FaultyReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let cleared = |(_, cleared): &mut NetworkFaults| cleared.load(Ordering::Relaxed);
        if self.faults.as_mut().is_some_and(cleared) {
            (self.faults, self.bytes_until_cut) = (None, None);
        }
        if self.stopped.as_mut().poll(cx).is_ready() || self.bytes_until_cut == Some(0) {
            return self.cut();
        }
        if self.delayed.is_none() {
            let (bytes, lag) = ready!(self.poll_pipe(cx))?;
            let delay = (!lag.is_zero()).then(|| Box::pin(sleep(lag)));
            self.delayed = Some((bytes, delay));
        }
        let reader = &mut *self;
        if let Some((bytes, delay)) = &mut reader.delayed {
            if let Some(sleep) = delay {
                ready!(sleep.as_mut().poll(cx));
                *delay = None;
            }
            let count = bytes.len().min(buf.remaining());
            let count = (reader.bytes_until_cut).map_or(count, |rest| count.min(rest));
            buf.put_slice(&bytes[..count]);
            bytes.advance(count);
            if bytes.is_empty() {
                reader.delayed = None;
            }
            reader.bytes_until_cut = reader.bytes_until_cut.map(|rest| rest - count);
        }
        Poll::Ready(Ok(()))
    }
}
