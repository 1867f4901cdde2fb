//! Whether and how a call may be made again.

use std::time::Duration;

use super::Failure;

/// How a call may be repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat {
    /// Whether doing it twice is doing it once.
    pub(crate) harmless: bool,
    /// Whether a second attempt may race a slow first one.
    pub(crate) hedged: bool,
    /// How long an attempt may take, if not as long as the backend's own `attempt_timeout`. It is then not the backend
    /// alone that takes the time, as while a client's body streams through, and no measure of how fast it is.
    pub(crate) within: Option<Duration>,
    /// Whether it goes on after the head of its answer for as long as its client likes, as streams do.
    pub(crate) lasting: bool,
    /// Whether a call that failed so, being harmless to repeat or not, may be tried again.
    pub(crate) worth: fn(&Failure, bool) -> bool,
}
