//! A configuration mistake.

/// A configuration mistake: one line that names key and source, never a secret. The caller prints it to stderr and
/// exits with [`Error::EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// The exit code of the process: `EX_USAGE` of sysexits.h.
    pub const EXIT_CODE: u8 = 64;

    /// An error with this text. Control characters become spaces, so that it is one line.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into().replace(char::is_control, " "))
    }
}
