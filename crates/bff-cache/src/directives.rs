//! Reads the `Cache-Control` directives that the semantics crate ignores: RFC 5861, and those that forbid stale use.
//!
//! It also finds `no-store` without allocating, because most personal responses have it and need nothing else.

use std::borrow::Cow;
use std::time::Duration;

use bff_context::field_value::{list_members, unquote};
use http::{HeaderMap, header};

/// The relevant directives of one response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    /// `no-store`, or a field that cannot be read and may contain it.
    pub(super) no_store: bool,
    /// A stale response must never be served (RFC 9111 §4.2.4).
    pub(super) strict: bool,
    /// There is an explicit lifetime, possibly zero.
    pub(super) lifetime: bool,
    /// RFC 5861 §3.
    pub(super) stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4.
    pub(super) stale_if_error: Option<Duration>,
}

impl Directives {
    /// Reads the directives. `shared`: whether several readers share the entry, so that `s-maxage` applies.
    pub(super) fn of(headers: &HeaderMap, shared: bool) -> Self {
        let mut directives = Self::default();
        let mut ages: [Option<Option<u64>>; 2] = [None, None];
        for directive in all(headers) {
            let Some((name, argument)) = directive else {
                directives.no_store = true;
                return directives;
            };
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            let seconds = || delta_seconds(&argument);
            if is("no-store") {
                directives.no_store = true;
                return directives;
            } else if is("must-revalidate") || is("no-cache") {
                directives.strict = true;
            } else if is("proxy-revalidate") {
                directives.strict |= shared;
            } else if is("max-age") || is("s-maxage") {
                directives.lifetime = true;
                let slot = usize::from(is("s-maxage"));
                directives.strict |= shared && slot == 1;
                // RFC 9111 §4.2.1: two different values are invalid.
                let age = seconds();
                directives.strict |= ages[slot].replace(age).is_some_and(|a| a != age);
            } else if is("stale-while-revalidate") {
                directives.stale_while_revalidate = seconds().map(Duration::from_secs);
            } else if is("stale-if-error") {
                directives.stale_if_error = seconds().map(Duration::from_secs);
            }
        }
        directives
    }
}

/// The names and arguments of all directives (RFC 9111 §5.2). An argument is empty if there is none. `None` in place of
/// the directives of a line that cannot be read: it is not ASCII text, or a quoted string does not end.
pub(super) fn all(headers: &HeaderMap) -> impl Iterator<Item = Option<(&str, Cow<'_, str>)>> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    lines.flat_map(|line| {
        let text = line.to_str().ok().filter(|text| ends_outside_quotes(text));
        let directives = text.into_iter().flat_map(list_members);
        let readable = directives.map(|directive| {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            Some((name.trim(), unquote(argument.trim())))
        });
        readable.chain(text.is_none().then_some(None))
    })
}

/// The largest number of seconds: a greater one counts as this (RFC 9111 §1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

/// A number of seconds (RFC 9111 §1.2.2): digits only.
pub(super) fn delta_seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // Only a number that is too large does not parse.
    is_number.then(|| text.parse().unwrap_or(MAX_SECONDS).min(MAX_SECONDS))
}

/// Whether every quoted string of a line ends (RFC 9110 §5.6.4). Otherwise it is unclear which commas separate
/// directives.
fn ends_outside_quotes(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        let is_escaped = escaped;
        escaped = quoted && c == '\\' && !is_escaped;
        quoted ^= c == '"' && !is_escaped;
    }
    !quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn directives(text: &str) -> Directives {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
        headers.insert(header::CACHE_CONTROL, value);
        Directives::of(&headers, true)
    }

    #[test]
    fn no_store_is_found_in_any_case_and_position() {
        for text in ["no-store", "max-age=60, No-Store", "private,no-store", "ü"] {
            assert!(directives(text).no_store, "{text}");
        }
        for text in [
            "max-age=60",
            "x=\"a, no-store\"",
            "x=\"a\\\", no-store\"",
            "no-store-x",
            "x=no-store",
            ",,",
            "",
        ] {
            assert!(!directives(text).no_store, "{text}");
        }
    }

    #[test]
    fn rfc_5861_is_read() {
        let both = directives("max-age=600, stale-while-revalidate=30, Stale-If-Error=\"1200\"");
        assert_eq!(both.stale_while_revalidate, Some(Duration::from_secs(30)));
        assert_eq!(both.stale_if_error, Some(Duration::from_secs(1200)));
        assert!(!both.strict && both.lifetime);
        for (argument, seconds) in [
            ("5", Some(5)),
            ("\"5\"", Some(5)),
            ("\"\\5\"", Some(5)),
            ("2147483648", Some(1 << 31)),
            ("2147483649", Some(1 << 31)),
            ("99999999999999999999", Some(1 << 31)),
            ("soon", None),
            ("+5", None),
            ("-5", None),
            ("5.0", None),
            ("5s", None),
            ("\"5", None),
            ("'5'", None),
            ("", None),
        ] {
            let read = directives(&format!("stale-if-error={argument}")).stale_if_error;
            assert_eq!(read, seconds.map(Duration::from_secs), "{argument}");
        }
    }

    #[test]
    fn directives_that_forbid_stale_responses_are_found() {
        for text in [
            "must-revalidate",
            "proxy-revalidate",
            "no-cache",
            "s-maxage=60",
            "max-age=60, max-age=90",
        ] {
            assert!(directives(text).strict, "{text}");
        }
        assert!(!directives("max-age=60, max-age=\"60\", public").strict);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("s-maxage=1"),
        );
        assert!(!Directives::of(&headers, false).strict);
    }
}
