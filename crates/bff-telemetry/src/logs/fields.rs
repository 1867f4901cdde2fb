//! Writes the fields of an event.

use std::fmt::{self, Debug, Display, Write as _};
use std::io::Write as _;

use serde::{Serialize, Serializer};
use tracing::field::{Field, Visit};

/// Appends members to a JSON object that is not yet closed.
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Json<'_> {
    /// Adds a member with one of our reserved names.
    pub(super) fn reserved_member(&mut self, name: &'static str, value: impl Serialize) {
        self.name(name);
        self.json(value);
    }

    fn member(&mut self, field: &Field, value: impl Serialize) {
        self.name(match name(field) {
            // A duplicate of a reserved name would replace our value.
            "timestamp" => "field.timestamp",
            "level" => "field.level",
            "target" => "field.target",
            name => name,
        });
        self.json(value);
    }

    /// Names are constants of the program and need no escapes.
    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn json(&mut self, value: impl Serialize) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *self.0, &value);
    }
}

impl Visit for Json<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.member(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.member(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.member(field, DebugValue(value));
    }
}

/// Appends the message and then `name=value` for each field.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let needs_no_quotes = |c: char| c.is_alphanumeric() || "-_.:/{}".contains(c);
        if name(field) != "message" && (value.is_empty() || !value.chars().all(needs_no_quotes)) {
            self.record_debug(field, &value);
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push(b' ');
        let name = name(field);
        if name != "message" {
            // Writing to memory does not fail.
            let _ = write!(self.0, "{name}=");
        }
        let _ = write!(OneLine(self.0), "{}", DebugValue(value));
    }
}

/// The field's name; `r#type` becomes `type`.
fn name(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

/// Formats a value with `Debug` and ignores a failure, because `serde_json` would panic. The text so far remains.
struct DebugValue<'a>(&'a dyn Debug);

impl Display for DebugValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = self.0.fmt(f);
        Ok(())
    }
}

impl Serialize for DebugValue<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Escapes control characters only.
struct OneLine<'a>(&'a mut Vec<u8>);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let last = part.chars().next_back().filter(|c| c.is_control());
            let plain = &part[..part.len() - last.map_or(0, char::len_utf8)];
            self.0.extend_from_slice(plain.as_bytes());
            if let Some(control) = last {
                self.0
                    .extend_from_slice(control.escape_default().to_string().as_bytes());
            }
        }
        Ok(())
    }
}
