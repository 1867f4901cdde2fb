//! Random numbers from (seed, endpoint, ordinal), never from one shared stream. One more request then leaves the numbers
//! of all others unchanged.

use std::time::Duration;

use services_mock::{Fault, Mode};

/// The random numbers of one endpoint in one schedule.
#[derive(Clone, Debug)]
pub(crate) struct SeededRng {
    state: u64,
}

impl SeededRng {
    /// The random numbers for the `ordinal`-th use of `endpoint` under `seed`.
    pub(crate) fn new(seed: u64, endpoint: &str, ordinal: u64) -> Self {
        let mut state = seed ^ ordinal.rotate_left(32);
        for byte in endpoint.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self { state }
    }

    /// Returns a number below `bound` (`SplitMix64`).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Returns true with a probability of `percent` in 100.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Picks one of `items`.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let count = items.len() as u64;
        items[usize::try_from(self.below(count)).unwrap_or(0)]
    }

    /// Returns a time of up to `max` milliseconds.
    pub(crate) fn up_to_millis(&mut self, max: u64) -> Duration {
        Duration::from_millis(self.below(max + 1))
    }

    /// Returns a random backend fault.
    pub(crate) fn fault(&mut self) -> Fault {
        const MODES: [Mode; 6] = [
            Mode::Hang,
            Mode::Reset,
            Mode::Truncate,
            Mode::Malformed,
            Mode::Endless,
            Mode::GzipBomb,
        ];
        let fault = match self.below(4) {
            0 => Fault::status(self.pick(&[500, 502, 503, 429, 418])),
            1 => Fault::latency(self.up_to_millis(3000)),
            _ => Fault::mode(self.pick(&MODES)),
        };
        if self.chance(50) && fault.latency.is_none() {
            fault.rate(0.5)
        } else {
            fault
        }
    }
}
