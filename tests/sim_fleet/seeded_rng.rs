//! Draws by (seed, endpoint, ordinal), never from one shared stream.

use std::time::Duration;

use services_mock::{Fault, Mode};

/// A source of draws for one endpoint of one schedule.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    state: u64,
}

impl Draw {
    /// The draws of `endpoint`'s `ordinal`-th turn under `seed`.
    pub(crate) fn of(seed: u64, endpoint: &str, ordinal: u64) -> Self {
        let mut state = seed ^ ordinal.rotate_left(32);
        for byte in endpoint.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self { state }
    }

    /// A number below `bound` (`SplitMix64`).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// True `percent` times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let last = of.len() as u64;
        of[usize::try_from(self.below(last)).unwrap_or(0)]
    }

    /// A time of up to `most` milliseconds.
    pub(crate) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most + 1))
    }

    /// A way for a backend to fail.
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
            0 => Fault::status(self.one(&[500, 502, 503, 429, 418])),
            1 => Fault::latency(self.millis(3000)),
            _ => Fault::mode(self.one(&MODES)),
        };
        if self.chance(50) && fault.latency.is_none() {
            fault.rate(0.5)
        } else {
            fault
        }
    }
}
