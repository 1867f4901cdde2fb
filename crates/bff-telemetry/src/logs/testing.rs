//! Reads the log in tests.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Format, filter, subscriber, writer};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log lines of `work`.
///
/// # Panics
/// If the filter is invalid.
pub fn logged(format: Format, directives: &str, work: impl FnOnce()) -> String {
    let sink = Sink::default();
    let (writer, guard) = writer(sink.clone());
    let filter = filter(directives).unwrap_or_else(|error| panic!("{error}"));
    let subscriber = subscriber(format, filter, writer);
    tracing::subscriber::with_default(subscriber, work);
    drop(guard);
    let lines = std::mem::take(&mut *sink.0.lock());
    String::from_utf8_lossy(&lines).into_owned()
}
