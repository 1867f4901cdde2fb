//! The result of everything that can fail.

use std::error::Error;

/// Any failure ends the benchmark, so an error is only a text.
pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;
