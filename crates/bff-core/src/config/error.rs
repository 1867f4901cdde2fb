//! The one line a configuration mistake becomes.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::inherit;
use super::print::bare_or_quoted;
use super::tree::Source;

/// A configuration mistake: one line that names key and source, never a secret. The caller prints it to stderr and
/// exits with [`Error::EXIT_CODE`].
#[derive(Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// What the process exits with: `EX_USAGE` of sysexits.h.
    pub const EXIT_CODE: u8 = 64;

    pub(crate) fn new(line: String) -> Self {
        if line.contains(char::is_control) {
            return Self(line.split(char::is_control).collect::<Vec<_>>().join(" "));
        }
        Self(line)
    }

    /// The line of a fault met while reading the tree.
    pub(super) fn of(fault: Fault, prefix: &str) -> Self {
        let (key, place) = fault.setting();
        let setting = match &fault.quoted {
            Some(value) => format!("{key} = {value}{place}"),
            None => format!("{key}{place}"),
        };
        Self::new(match &fault.what {
            What::Line(line) => line.clone(),
            What::Said(message) => format!("{setting}: {message}"),
            What::Wrong { expected, found } if fault.quoted.is_none() && !found.is_empty() => {
                format!("{setting}: expected {expected}, found {found}")
            }
            What::Wrong { expected, .. } => format!("{setting}: expected {expected}"),
            What::Missing if key.contains('[') => format!("missing key `{key}`{place}"),
            What::Missing => {
                let variable = key.replace('.', "__").to_uppercase();
                format!("missing key `{key}`: set it in a file or as {prefix}_{variable}")
            }
            What::Unknown { expected } => {
                let subject = match fault.only_variable() {
                    Some(name) => format!("unknown variable {name}: no key `{key}`"),
                    None => format!("unknown key `{key}`{place}"),
                };
                let separator = if fault.only_variable().is_some() {
                    ", "
                } else {
                    ": "
                };
                let beside = inherit::beside(expected).filter(|_| fault.path.len() == 1);
                let expected: Vec<&str> = expected.iter().copied().chain(beside).collect();
                match listed(&expected) {
                    Some(names) => format!("{subject}{separator}expected {names}"),
                    None => subject,
                }
            }
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// What went wrong somewhere in the tree, and where, as far as the way back up has told.
#[derive(Debug)]
pub(super) struct Fault {
    what: What,
    /// Innermost first.
    path: Vec<String>,
    /// Empty as long as nobody has said.
    sources: BTreeSet<Source>,
    quoted: Option<String>,
    may_quote: bool,
}

#[derive(Debug)]
enum What {
    /// A whole line that needs no key.
    Line(String),
    /// A type's own words about its value.
    Said(String),
    Wrong {
        expected: String,
        found: &'static str,
    },
    /// The last name of the path is the missing one.
    Missing,
    /// The last name of the path is the unknown one.
    Unknown { expected: &'static [&'static str] },
}

impl Fault {
    pub(super) fn line(line: String) -> Self {
        Self::of(What::Line(line))
    }

    pub(super) fn whole(error: Error) -> Self {
        Self::line(error.0)
    }

    pub(super) fn wrong(expected: &str) -> Self {
        Self::of(What::Wrong {
            expected: expected.to_owned(),
            found: "",
        })
    }

    pub(super) fn unknown(expected: &'static [&'static str]) -> Self {
        Self::of(What::Unknown { expected })
    }

    /// Where it happened, unless a value further in has said so already.
    pub(super) fn at(mut self, sources: BTreeSet<Source>, quoted: Option<String>) -> Self {
        if self.sources.is_empty() {
            self.sources = sources;
            self.quoted = quoted.filter(|_| self.may_quote);
        }
        self
    }

    /// One key further up.
    pub(super) fn under(mut self, key: String) -> Self {
        self.path.push(key);
        self
    }

    /// The value must not be shown: it is, or may be, a secret.
    pub(super) fn unquoted(mut self) -> Self {
        self.may_quote = false;
        self.quoted = None;
        self
    }

    fn of(what: What) -> Self {
        Self {
            what,
            path: Vec::new(),
            sources: BTreeSet::new(),
            quoted: None,
            may_quote: true,
        }
    }

    /// The key, and where it is written.
    fn setting(&self) -> (String, String) {
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        match inherit::written_at(&path, &self.sources) {
            // A key that is missing is set at the one place that misses it.
            Some((path, sources)) if !matches!(self.what, What::Missing) => {
                (key(&path), place(&sources))
            }
            _ => (key(&path), place(&self.sources)),
        }
    }

    /// The first variable, if nothing but variables set this.
    fn only_variable(&self) -> Option<&str> {
        self.sources.first()?.variable().map(|name| &**name)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(What::Said(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(What::Wrong {
            expected: in_words(&expected.to_string()),
            found: kind(&unexpected),
        })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::wrong(&listed(expected).unwrap_or_else(|| "nothing".to_owned()))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown(expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of(What::Missing).under(field.to_owned())
    }
}

/// A path as it is written in a file, dotted.
fn key(path: &[&str]) -> String {
    let mut key = String::new();
    for name in path {
        if name.starts_with('[') {
            key.push_str(name);
            continue;
        }
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(&bare_or_quoted(name));
    }
    if key.is_empty() {
        "the configuration".to_owned()
    } else {
        key
    }
}

/// Who wrote it, as the middle of a line.
pub(super) fn place(sources: &BTreeSet<Source>) -> String {
    let names: Vec<String> = sources.iter().map(Source::to_string).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" in {}", names.join(" and "))
    }
}

/// Rust's names of types, in the words of whoever writes the file.
fn in_words(expected: &str) -> String {
    let range = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u64" | "a nonzero usize" => "a whole number, 1 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") || other == "a map" => "a section",
        "a sequence" => "a list",
        other => other,
    };
    range.to_owned()
}

/// What was found, without its value, which may be a secret.
fn kind(unexpected: &Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Seq => "a list",
        Unexpected::Map | Unexpected::StructVariant => "a section",
        _ => "",
    }
}

fn listed(names: &[&str]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("one of {}", several.join(", "))),
    }
}
