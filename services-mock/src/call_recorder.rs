//! The parts of a call recorder: events, counters and faults. The middleware is in `middleware.rs`.

use http::{HeaderMap, Method};
use parking_lot::Mutex;

use crate::backend::Backend;
use crate::faults::ActiveFaults;
use crate::stats::Counters;

/// An event of a call, for an observer in the same process.
#[derive(Clone, Copy, Debug)]
pub enum CallEvent<'a> {
    /// The backend received the call.
    Arrived {
        /// The method.
        method: &'a Method,
        /// The path as sent.
        path: &'a str,
        /// The headers; for gRPC, the metadata.
        headers: &'a HeaderMap,
    },
    /// The response was sent completely, or the client disconnected.
    Ended,
}

/// Receives every event of every call, with the call's number.
pub(crate) type CallObserver = Box<dyn Fn(Backend, u64, CallEvent<'_>) + Send + Sync>;

/// The counters and the faults of one backend.
#[derive(Debug, Default)]
pub(crate) struct CallRecorder {
    pub(crate) counters: Mutex<Counters>,
    pub(crate) faults: Mutex<ActiveFaults>,
}
