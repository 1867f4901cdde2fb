//! The names of records.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The version of the encoding of all records. Increment it with every change of an encoding.
const VERSION: &str = "bff2";

/// The number of slots in a Redis Cluster.
const SLOTS: u16 = 1 << 14;

/// A kind of record, and whether a full store may evict it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The prefix of the keys: letters, digits and dashes.
    pub name: &'static str,
    /// Whether a full store in process may evict a record before it expires.
    pub evictable: bool,
}

/// The name of a record. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    text: Arc<str>,
    evictable: bool,
}

impl Key {
    /// A key from parts. Keys with the same `first` part are in the same slot of a cluster. The parts are hashed, so
    /// they may have any length and be secret. No two lists of parts have the same key.
    pub fn of(namespace: Namespace, first: &[u8], rest: &[&[u8]]) -> Self {
        let tag = hash_parts(&[first]);
        let mut text = format!("{VERSION}:{}:{{{tag}}}", namespace.name);
        if !rest.is_empty() {
            text = format!("{text}:{}", hash_parts(rest));
        }
        Self {
            text: text.into(),
            evictable: namespace.evictable,
        }
    }

    /// The key as Redis stores it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hash tag, which decides the slot.
    pub fn tag(&self) -> &str {
        self.text.split(['{', '}']).nth(1).unwrap_or_default()
    }

    /// The index of the key's range if the slots of a cluster are split into `ranges` equal ranges.
    pub(super) fn slot_range(&self, ranges: usize) -> usize {
        match ranges {
            1 => 0,
            ranges => usize::from(slot(self.tag())) * ranges / usize::from(SLOTS),
        }
    }

    pub(super) fn is_evictable(&self) -> bool {
        self.evictable
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name of a channel in Redis.
pub fn channel(name: &str) -> String {
    format!("{VERSION}:{name}")
}

/// The slot of a hash tag: CRC-16/XMODEM, as in the Redis Cluster specification.
fn slot(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let has_carry = crc & 0x8000 != 0;
            (crc << 1) ^ if has_carry { 0x1021 } else { 0 }
        })
    });
    crc % SLOTS
}

/// 128 bits of SHA-256, so that no one can find two lists of parts with the same hash.
fn hash_parts(parts: &[&[u8]]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&part.len().to_le_bytes());
        hash.update(part);
    }
    URL_SAFE_NO_PAD.encode(&hash.finish().as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_redis() {
        // The check value of the specification, and a reply of CLUSTER KEYSLOT.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12182);
    }
}
