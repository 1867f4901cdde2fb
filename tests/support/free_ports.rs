//! Free ports for processes that get their port as an option. Other test crates include this file by path.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The number of ports from a base port on, the base port included.
const PORTS: u16 = 40;

/// Returns a base port with 40 free ports from it on, below the kernel's ephemeral range. Processes start at different
/// ports, and one process never returns the same port twice.
pub(crate) fn free_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 500).unwrap();
    let next = || (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 500;
    let is_free =
        |base: &u16| (*base..base + PORTS).all(|p| TcpListener::bind(("127.0.0.1", p)).is_ok());
    let bases = std::iter::repeat_with(|| 10_000 + PORTS * next());
    bases.take(500).find(is_free).unwrap()
}
