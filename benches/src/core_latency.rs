//! How far apart this machine's cores are at the moment. Under a hypervisor they move, and everything that is handed
//! from one process to another gets dearer with the distance: the floor of a run cannot be understood without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{spawn, yield_now};
use std::time::Duration;

use tokio::time::Instant;

use crate::Result;

/// How often the line goes there and back: some milliseconds.
const TURNS: u32 = 20_000;
/// How long one looks before it lets another thread run: both may be on the same core at first.
const LOOKS: u32 = 10_000;

/// How long a cache line takes from one core to another and back.
pub(crate) fn round_trip() -> Result<Duration> {
    let line = Arc::new(AtomicU32::new(0));
    let theirs = line.clone();
    let other = spawn(move || play(&theirs, 1));
    let took = play(&line, 0);
    other.join().map_err(|_| "a thread panicked")?;
    Ok(took / TURNS)
}

/// Counts on whenever the count leaves `rest` of two.
fn play(line: &AtomicU32, rest: u32) -> Duration {
    let mut began = Instant::now();
    for turn in 0..TURNS {
        let mine = turn * 2 + rest;
        let mut looks = 0_u32;
        while line.load(Ordering::Acquire) != mine {
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                yield_now();
            }
            std::hint::spin_loop();
        }
        if turn == 0 {
            // The other thread is there from now on.
            began = Instant::now();
        }
        line.store(mine + 1, Ordering::Release);
    }
    began.elapsed()
}
