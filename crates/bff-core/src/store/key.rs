//! What a record is called.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The version of the encoding of everything kept. A release that encodes otherwise raises it.
const VERSION: &str = "bff1";

/// The slots of a cluster.
const SLOTS: u16 = 1 << 14;

/// What kind of record it is, and what a full store does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Part of every key: letters, digits and dashes.
    pub name: &'static str,
    /// Whether a store in process may forget a record before its time, when it is full.
    pub evictable: bool,
}

/// The name of one record. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    text: Arc<str>,
    forgettable: bool,
}

impl Key {
    /// A key of parts, of which the first one says where in a cluster the record lies. The parts are hashed: they may be
    /// of any length and hold secrets, and no two lists of parts make one key.
    pub fn of(space: Namespace, first: &[u8], rest: &[&[u8]]) -> Self {
        let tag = hash(&[first]);
        let mut text = format!("{VERSION}:{}:{{{tag}}}", space.name);
        if !rest.is_empty() {
            text = format!("{text}:{}", hash(rest));
        }
        Self {
            text: text.into(),
            forgettable: space.evictable,
        }
    }

    /// The key as Redis has it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What of the key says where in a cluster it lies.
    pub(crate) fn tag(&self) -> &str {
        self.text.split(['{', '}']).nth(1).unwrap_or_default()
    }

    /// In which of so many equal parts of a cluster it lies.
    pub(super) fn part(&self, parts: usize) -> usize {
        match parts {
            1 => 0,
            parts => usize::from(slot(self.tag())) * parts / usize::from(SLOTS),
        }
    }

    pub(super) fn is_forgettable(&self) -> bool {
        self.forgettable
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name of a channel as Redis has it.
pub(crate) fn channel(name: &str) -> String {
    format!("{VERSION}:{name}")
}

/// Where in a cluster lies what has this hash tag, as Redis reckons it: CRC-16, as XMODEM has it.
fn slot(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let carried = crc & 0x8000 != 0;
            (crc << 1) ^ if carried { 0x1021 } else { 0 }
        })
    });
    crc % SLOTS
}

/// 128 bits of SHA-256: nobody finds two lists of parts with one.
fn hash(parts: &[&[u8]]) -> String {
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
    fn slots_are_those_of_redis() {
        // The check value of the specification, and what CLUSTER KEYSLOT says.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12182);
    }
}
