//! One record of the store, and the error of a store that does not answer.

use std::time::Duration;

use bytes::Bytes;

use super::key::Key;

/// The store did not answer in time, or has no room for records that must not be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable")]
pub struct StoreUnavailable;

/// A record to store.
#[derive(Clone, Debug)]
pub struct Record {
    /// The name of the record.
    pub key: Key,
    /// The content.
    pub value: Bytes,
    /// The time to live; at least a millisecond.
    pub ttl: Duration,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The content.
    pub value: Bytes,
    /// The rest of its time to live.
    pub ttl_left: Duration,
}
