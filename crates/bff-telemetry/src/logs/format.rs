//! The layer that formats an event as one line. It uses a buffer per thread and passes on each line in one call.

use std::cell::Cell;
use std::io::Write;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::fields::{Json, Text};

/// A larger buffer is freed after its line.
const MAX_BUFFER_BYTES: usize = 64 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Json,
    /// `time LEVEL target: message name=value …`.
    Text,
}

/// Formats each event and passes the line to `write`.
pub(super) struct FormatLayer<W> {
    format: Format,
    write: W,
}

impl<W: Fn(&[u8])> FormatLayer<W> {
    pub(super) fn new(format: Format, write: W) -> Self {
        Self { format, write }
    }
}

impl<S: Subscriber, W: Fn(&[u8]) + 'static> Layer<S> for FormatLayer<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // The buffer is taken, not borrowed: a value that logs during its own formatting gets a new one.
        let mut line = BUFFER.take();
        line.clear();
        match self.format {
            Format::Json => json(&mut line, event),
            Format::Text => text(&mut line, event),
        }
        line.push(b'\n');
        (self.write)(&line);
        if line.capacity() <= MAX_BUFFER_BYTES {
            BUFFER.set(line);
        }
    }
}

fn json(line: &mut Vec<u8>, event: &Event<'_>) {
    let metadata = event.metadata();
    line.extend_from_slice(b"{\"timestamp\":\"");
    timestamp(line, now());
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(metadata.level().as_str().as_bytes());
    line.push(b'"');
    let mut fields = Json(line);
    fields.reserved_member("target", metadata.target());
    event.record(&mut fields);
    line.push(b'}');
}

fn text(line: &mut Vec<u8>, event: &Event<'_>) {
    let metadata = event.metadata();
    timestamp(line, now());
    // Writing to memory does not fail.
    let _ = write!(
        line,
        " {:5} {}:",
        metadata.level().as_str(),
        metadata.target()
    );
    event.record(&mut Text(line));
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log belongs to the process, not to an Env"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Appends the time in RFC 3339, in UTC with milliseconds.
fn timestamp(to: &mut Vec<u8>, time: SystemTime) {
    let time = OffsetDateTime::from(time);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (range, number) in [
        (0..4, time.year().unsigned_abs()),
        (5..7, u32::from(u8::from(time.month()))),
        (8..10, time.day().into()),
        (11..13, time.hour().into()),
        (14..16, time.minute().into()),
        (17..19, time.second().into()),
        (20..23, time.millisecond().into()),
    ] {
        let mut rest = number;
        for digit in text[range].iter_mut().rev() {
            *digit = b"0123456789"[(rest % 10) as usize];
            rest /= 10;
        }
    }
    to.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::Value;

    use super::*;
    use crate::logs::logged;

    const SPECIAL_CHARACTERS: &str = "a\nb\r\t\"\\\u{0}\u{1b}[31m\u{7f}\u{2028}ü\u{1f600}";

    #[test]
    fn time_is_rfc_3339_in_utc() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_795_564_799_999, "2026-11-24T23:59:59.999Z"),
        ] {
            let mut written = Vec::new();
            timestamp(&mut written, UNIX_EPOCH + Duration::from_millis(at));
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
    }

    #[test]
    fn every_value_gives_one_valid_json_line() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(
                plain = SPECIAL_CHARACTERS,
                shown = %SPECIAL_CHARACTERS,
                debugged = ?SPECIAL_CHARACTERS,
                nan = f64::NAN,
                "message {SPECIAL_CHARACTERS}"
            );
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], format!("message {SPECIAL_CHARACTERS}"));
        assert_eq!(line["plain"], SPECIAL_CHARACTERS);
        assert_eq!(line["shown"], SPECIAL_CHARACTERS);
        assert_eq!(line["debugged"], format!("{SPECIAL_CHARACTERS:?}"));
        assert_eq!(line["nan"], Value::Null);
        assert!(
            !text
                .trim_end()
                .contains(|c: char| c.is_ascii_control() && c != '\u{7f}')
        );
    }

    #[test]
    fn fields_have_their_type_and_cannot_replace_reserved_members() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(
                level = "fake",
                r#type = 1,
                less = -1,
                big = u128::MAX,
                yes = true,
                none = Option::<u8>::None
            );
        });
        assert!(text.starts_with("{\"timestamp\":\"20"), "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["field.level"], "fake");
        assert_eq!(
            (&line["type"], &line["less"], &line["yes"]),
            (&1.into(), &(-1).into(), &true.into())
        );
        assert!(text.contains("340282366920938463463374607431768211455"));
        assert!(line.get("none").is_none());
    }

    #[test]
    fn a_text_event_is_one_line() {
        let text = logged(Format::Text, "info", || {
            tracing::warn!(target: "edge", id = "a-1", cause = "two words\n", n = 3, "It \"broke\"\nhere");
        });
        let line = "  WARN  edge: It \"broke\"\\nhere id=a-1 cause=\"two words\\n\" n=3\n";
        assert_eq!(&text[24..], &line[1..]);
        let text = logged(Format::Text, "info", || {
            tracing::info!(a = SPECIAL_CHARACTERS, b = "");
        });
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
        assert!(text.ends_with(" b=\"\"\n"));
    }

    #[test]
    fn a_value_can_log_or_fail_during_its_formatting() {
        struct LogsAndFails;
        impl fmt::Debug for LogsAndFails {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::info!("inner");
                Err(fmt::Error)
            }
        }
        let text = logged(Format::Json, "info", || {
            tracing::info!(value = ?LogsAndFails, "outer");
        });
        for line in text.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
        assert!(text.contains("\"outer\""));
    }
}
