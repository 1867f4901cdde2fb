//! Lines on their way to standard output: gathered for a few milliseconds and written together.
//!
//! One write a line wakes whoever reads the log once a line, and costs more than making the line. A process that is
//! killed loses the lines of the last [`FLUSH_INTERVAL`]; one that ends by itself loses none, for it flushes.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long lines are gathered before they are written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);
/// With this much gathered, whoever logs writes it out: nothing is lost, and nothing grows without a bound.
const MAX_BYTES: usize = 1 << 20;

/// The lines gathered, and where they go.
pub(super) struct LogWriter {
    lines: Mutex<Vec<u8>>,
    some: Condvar,
    out: Mutex<Out>,
}

struct Out {
    to: Box<dyn Write + Send>,
    /// An empty buffer to gather into while a full one is written.
    spare: Vec<u8>,
}

impl LogWriter {
    /// Nothing gathered yet, and nobody who writes it: see [`LogWriter::start`].
    fn new(to: impl Write + Send + 'static) -> Self {
        Self {
            lines: Mutex::default(),
            some: Condvar::new(),
            out: Mutex::new(Out {
                to: Box::new(to),
                spare: Vec::new(),
            }),
        }
    }

    /// A spool with a thread of its own that writes to `to`.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let spool = Arc::new(Self::new(to));
        let writer = spool.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.run())?;
        Ok(spool)
    }

    /// Adds one line.
    pub(super) fn push(&self, line: &[u8]) {
        let mut lines = self.lines.lock();
        let first = lines.is_empty();
        lines.extend_from_slice(line);
        let full = lines.len() >= MAX_BYTES;
        drop(lines);
        if full {
            self.flush();
        } else if first {
            self.some.notify_one();
        }
    }

    /// Writes what is gathered; returns when it, and all before it, is written.
    pub(super) fn flush(&self) {
        let mut out = self.out.lock();
        let out = &mut *out;
        std::mem::swap(&mut *self.lines.lock(), &mut out.spare);
        // When nobody reads any more there is nobody to tell.
        let _ = out.to.write_all(&out.spare).and_then(|()| out.to.flush());
        out.spare.clear();
    }

    fn run(&self) {
        loop {
            let mut lines = self.lines.lock();
            while lines.is_empty() {
                self.some.wait(&mut lines);
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
    fn lines_keep_their_order_and_share_writes() {
        let sink = Sink::default();
        let spool = LogWriter::new(sink.clone());
        for n in 0..100 {
            spool.push(format!("{n}\n").as_bytes());
        }
        spool.flush();
        spool.flush();
        let wanted: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let written = sink.0.lock();
        let text = String::from_utf8(written.0.clone()).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
        assert_eq!(written.1, 1, "one write for all");
    }

    #[test]
    fn what_nobody_writes_out_in_time_is_written_by_whoever_logs() {
        let sink = Sink::default();
        let spool = LogWriter::new(sink.clone());
        let line = [b'x'; 1 << 10];
        for _ in 0..MAX_BYTES / line.len() {
            spool.push(&line);
        }
        assert_eq!(sink.0.lock().0.len(), MAX_BYTES);
        assert!(spool.lines.lock().is_empty());
    }

    #[test]
    fn the_thread_writes_without_being_told() {
        let sink = Sink::default();
        let spool = LogWriter::start(sink.clone()).unwrap();
        spool.push(b"one\n");
        while sink.0.lock().0.is_empty() {
            thread::yield_now();
        }
        assert_eq!(sink.0.lock().0, b"one\n");
    }
}
