//! Ports for processes that are told theirs. Included by path where it is needed.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// How many ports stand above a base port, itself included.
const PORTS: u16 = 40;

/// A base port with forty free ports from it on, below those that the kernel hands out by itself, and another for
/// each test: different processes begin at different places, one process never gives the same twice.
pub(crate) fn free_base() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 500).unwrap();
    let nth = || (own + TAKEN.fetch_add(1, Ordering::Relaxed)) % 500;
    let free =
        |base: &u16| (*base..base + PORTS).all(|p| TcpListener::bind(("127.0.0.1", p)).is_ok());
    let bases = std::iter::repeat_with(|| 10_000 + PORTS * nth());
    bases.take(500).find(free).unwrap()
}
