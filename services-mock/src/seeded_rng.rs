//! Randomness that a seed replays: each draw is named by (seed, endpoint, ordinal), never taken from
//! one shared stream, so that calls answered in another order still draw the same.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// The source of every draw of one set of mocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededRng(pub(crate) u64);

impl SeededRng {
    /// 64 even bits.
    pub(crate) fn bits(self, endpoint: &str, ordinal: u64) -> u64 {
        xxh3_64_with_seed(&name(endpoint, ordinal), self.0)
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(self, endpoint: &str, ordinal: u64, bound: u64) -> u64 {
        self.bits(endpoint, ordinal) % bound.max(1)
    }

    /// A number in `0..bound` for an index into a list.
    pub(crate) fn index(self, endpoint: &str, ordinal: u64, len: usize) -> usize {
        let bound = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(endpoint, ordinal, bound)).unwrap_or(0)
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<'a, T>(self, endpoint: &str, ordinal: u64, list: &'a [T]) -> Option<&'a T> {
        list.get(self.index(endpoint, ordinal, list.len()))
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn unit(self, endpoint: &str, ordinal: u64) -> f64 {
        let high = u32::try_from(self.bits(endpoint, ordinal) >> 32).unwrap_or(0);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// 128 bits as 32 hexadecimal digits, for ids and opaque tokens.
    pub(crate) fn id(self, endpoint: &str, ordinal: u64) -> String {
        format!(
            "{:032x}",
            xxh3_128_with_seed(&name(endpoint, ordinal), self.0)
        )
    }
}

fn name(endpoint: &str, ordinal: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(endpoint.len() + 9);
    bytes.extend_from_slice(endpoint.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&ordinal.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_its_name_alone() {
        let (a, b) = (SeededRng(7), SeededRng(8));
        assert_eq!(a.bits("x", 1), a.bits("x", 1));
        assert_ne!(a.bits("x", 1), a.bits("x", 2));
        assert_ne!(a.bits("x", 1), b.bits("x", 1));
        assert!((0..1000).all(|n| (0.0..1.0).contains(&a.unit("x", n))));
    }
}
