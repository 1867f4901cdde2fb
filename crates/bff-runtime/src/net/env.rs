//! The environment of the program: network, wall clock and randomness. A simulation seeds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use uuid::Uuid;

use super::Net;

/// Network, wall clock and randomness. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    net: Net,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Real,
    Seeded(Arc<Seeded>),
}

#[derive(Debug)]
struct Seeded {
    seed: u64,
    start: Instant,
    draws: AtomicU64,
}

/// The start time of every simulation: 2026-01-01T00:00:00Z.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

impl Env {
    /// The network, clock and randomness of the machine.
    pub fn real() -> Self {
        Self {
            net: Net::Tcp,
            source: Source::Real,
        }
    }

    /// An environment in which everything follows from `seed` and tokio's clock.
    pub fn seeded(seed: u64, net: Net) -> Self {
        let seeded = Seeded {
            seed,
            start: Instant::now(),
            draws: AtomicU64::new(0),
        };
        Self {
            net,
            source: Source::Seeded(Arc::new(seeded)),
        }
    }

    /// The same environment with its own random sequence, so that its draws do not change those of others.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        let source = match &self.source {
            Source::Real => Source::Real,
            Source::Seeded(s) => Source::Seeded(Arc::new(Seeded {
                seed: s.seed ^ xxhash_rust::xxh3::xxh3_64(name.as_bytes()),
                start: s.start,
                draws: AtomicU64::new(0),
            })),
        };
        Self {
            net: self.net.clone(),
            source,
        }
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The wall clock time.
    #[expect(clippy::disallowed_methods, reason = "the lint recommends this method")]
    pub fn now(&self) -> SystemTime {
        match &self.source {
            Source::Real => SystemTime::now(),
            Source::Seeded(s) => UNIX_EPOCH + EPOCH + s.start.elapsed(),
        }
    }

    /// Seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.since_unix_epoch().as_secs()
    }

    /// Milliseconds since 1970.
    pub fn unix_millis(&self) -> u64 {
        u64::try_from(self.since_unix_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        match &self.source {
            Source::Real => rand::random(),
            Source::Seeded(s) => mix(s.seed, s.draws.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// A new UUIDv7 (RFC 9562 §5.7).
    pub fn uuid(&self) -> Uuid {
        let millis = self.unix_millis();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.random().to_le_bytes());
        random[8..].copy_from_slice(&self.random().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn since_unix_epoch(&self) -> Duration {
        self.now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A pseudo-random number from a seed and an ordinal (SplitMix64).
fn mix(seed: u64, ordinal: u64) -> u64 {
    let mut z = seed.wrapping_add(ordinal.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seed_decides_everything() {
        let draw = |seed| {
            let env = Env::seeded(seed, Net::Tcp).fork("web");
            (env.uuid(), env.random(), env.now())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).0, draw(2).0);
    }

    #[test]
    fn real_ids_differ_and_are_version_7() {
        let env = Env::real();
        assert_ne!(env.uuid(), env.uuid());
        assert_eq!(env.uuid().get_version_num(), 7);
    }
}
