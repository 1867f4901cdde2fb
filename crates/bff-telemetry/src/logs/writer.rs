//! Buffers log lines for a few milliseconds and writes them together.
//!
//! A write per line costs more than formatting the line, and wakes the reader of the log each time. A killed process
//! loses the lines of the last [`FLUSH_INTERVAL`]. A process that exits normally flushes and loses none.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Time between the first buffered line and the write.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);
/// With more buffered bytes, the logging thread writes the lines itself, so the buffer is bounded and no line is lost.
const MAX_BYTES: usize = 1 << 20;

/// Buffers lines and writes them to an output.
pub(super) struct LogWriter {
    lines: Mutex<Vec<u8>>,
    has_lines: Condvar,
    out: Mutex<Output>,
}

struct Output {
    target: Box<dyn Write + Send>,
    /// The empty buffer for new lines while the other one is written.
    spare: Vec<u8>,
}

impl LogWriter {
    /// A writer without a thread; [`LogWriter::start`] adds one.
    fn new(target: impl Write + Send + 'static) -> Self {
        Self {
            lines: Mutex::default(),
            has_lines: Condvar::new(),
            out: Mutex::new(Output {
                target: Box::new(target),
                spare: Vec::new(),
            }),
        }
    }

    /// A writer with its own thread.
    pub(super) fn start(target: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let writer = Arc::new(Self::new(target));
        let background = writer.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || background.run())?;
        Ok(writer)
    }

    /// Adds one line.
    pub(super) fn push(&self, line: &[u8]) {
        let mut lines = self.lines.lock();
        let is_first = lines.is_empty();
        lines.extend_from_slice(line);
        let is_full = lines.len() >= MAX_BYTES;
        drop(lines);
        if is_full {
            self.flush();
        } else if is_first {
            self.has_lines.notify_one();
        }
    }

    /// Writes all buffered lines, and returns after the write.
    pub(super) fn flush(&self) {
        let mut out = self.out.lock();
        let out = &mut *out;
        std::mem::swap(&mut *self.lines.lock(), &mut out.spare);
        // A failure to write the log cannot be logged.
        let _ = out
            .target
            .write_all(&out.spare)
            .and_then(|()| out.target.flush());
        out.spare.clear();
    }

    fn run(&self) {
        loop {
            let mut lines = self.lines.lock();
            while lines.is_empty() {
                self.has_lines.wait(&mut lines);
            }
            drop(lines);
            thread::sleep(FLUSH_INTERVAL);
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Sink {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock();
            written.0.extend_from_slice(text);
            written.1 += 1;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_with_one_write() {
        let sink = Sink::default();
        let writer = LogWriter::new(sink.clone());
        for n in 0..100 {
            writer.push(format!("{n}\n").as_bytes());
        }
        writer.flush();
        writer.flush();
        let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let written = sink.0.lock();
        let text = String::from_utf8(written.0.clone()).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(written.1, 1, "one write for all lines");
    }

    #[test]
    fn a_full_buffer_is_written_by_the_logging_thread() {
        let sink = Sink::default();
        let writer = LogWriter::new(sink.clone());
        let line = [b'x'; 1 << 10];
        for _ in 0..MAX_BYTES / line.len() {
            writer.push(&line);
        }
        assert_eq!(sink.0.lock().0.len(), MAX_BYTES);
        assert!(writer.lines.lock().is_empty());
    }

    #[test]
    fn the_thread_writes_without_a_flush() {
        let sink = Sink::default();
        let writer = LogWriter::start(sink.clone()).unwrap();
        writer.push(b"one\n");
        while sink.0.lock().0.is_empty() {
            thread::yield_now();
        }
        assert_eq!(sink.0.lock().0, b"one\n");
    }
}
