//! Reads the `Cache-Control` directives that the semantics crate ignores: RFC 5861, and those that forbid stale use.
//!
//! It also finds `no-store` without allocating, because most personal responses have it and need nothing else.

use std::time::Duration;

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
        let mut ages: [Option<&str>; 2] = [None, None];
        for value in headers.get_all(header::CACHE_CONTROL) {
            let Ok(text) = value.to_str() else {
                directives.no_store = true;
                return directives;
            };
            for directive in split(text) {
                let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
                let (name, argument) = (name.trim(), argument.trim().trim_matches('"'));
                let is = |other: &str| name.eq_ignore_ascii_case(other);
                let seconds = || argument.parse().ok().map(Duration::from_secs);
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
                    directives.strict |=
                        ages[slot].replace(argument).is_some_and(|a| a != argument);
                } else if is("stale-while-revalidate") {
                    directives.stale_while_revalidate = seconds();
                } else if is("stale-if-error") {
                    directives.stale_if_error = seconds();
                }
            }
        }
        directives
    }
}

/// Splits at commas outside quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
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
        for text in ["max-age=60", "x=\"a, no-store\"", "no-store-x", ""] {
            assert!(!directives(text).no_store, "{text}");
        }
    }

    #[test]
    fn rfc_5861_is_read() {
        let both = directives("max-age=600, stale-while-revalidate=30, Stale-If-Error=\"1200\"");
        assert_eq!(both.stale_while_revalidate, Some(Duration::from_secs(30)));
        assert_eq!(both.stale_if_error, Some(Duration::from_secs(1200)));
        assert!(!both.strict && both.lifetime);
        assert_eq!(directives("stale-if-error=soon").stale_if_error, None);
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
        assert!(!directives("max-age=60, max-age=60, public").strict);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("s-maxage=1"),
        );
        assert!(!Directives::of(&headers, false).strict);
    }
}
