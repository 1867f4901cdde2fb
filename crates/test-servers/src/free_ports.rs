//! Free ports for processes that get their port as an option. All are below the kernel's ephemeral range, so no outgoing
//! connection takes one before its process starts.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// The number of ports from a base port on, the base port included.
const PORTS: u16 = 40;
/// The ports of [`free_base`], and below them the ports of [`free_port`].
const BASES: Range<u16> = 12_000..32_000;
const SINGLE_PORTS: Range<u16> = 2_000..12_000;

/// Returns a base port with 40 free ports from it on. Processes start at different ports, and one process never returns
/// the same port twice.
pub fn free_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    next_free(&NEXT, BASES, PORTS)
}

/// Returns a free port. Processes start at different ports, and one process never returns the same port twice.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    next_free(&NEXT, SINGLE_PORTS, 1)
}

/// The first port of the next `size` free ports.
fn next_free(next: &AtomicU16, range: Range<u16>, size: u16) -> u16 {
    let count = (range.end - range.start) / size;
    // A prime, so that processes with consecutive ids start far from each other.
    let offset = std::process::id().wrapping_mul(7919) % u32::from(count);
    let offset = u16::try_from(offset).unwrap();
    let is_free =
        |first: &u16| (*first..first + size).all(|p| TcpListener::bind(("127.0.0.1", p)).is_ok());
    let candidates = std::iter::repeat_with(|| {
        let index = (offset + next.fetch_add(1, Ordering::Relaxed)) % count;
        range.start + size * index
    });
    candidates.take(count.into()).find(is_free).unwrap()
}
