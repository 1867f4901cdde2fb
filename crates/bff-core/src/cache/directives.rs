//! What `Cache-Control` says beyond what the semantics crate reads: RFC 5861, and whether anything stale is forbidden.
//!
//! It also sees `no-store` without allocating, for that is what most personal answers say and nothing follows from it.

use std::time::Duration;

use http::{HeaderMap, header};

/// The directives of one answer that are looked at here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    /// `no-store`, or a field that cannot be read and might say so.
    pub(super) no_store: bool,
    /// Nothing stale may be served whatever happens: RFC 9111 §4.2.4.
    pub(super) strict: bool,
    /// A lifetime is given, perhaps of zero.
    pub(super) lifetime: bool,
    /// RFC 5861 §3.
    pub(super) stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4.
    pub(super) stale_if_error: Option<Duration>,
}

impl Directives {
    /// What the answer says. `shared`: whether the copy is for several readers, whom `s-maxage` is for.
    pub(super) fn of(headers: &HeaderMap, shared: bool) -> Self {
        let mut said = Self::default();
        let mut ages: [Option<&str>; 2] = [None, None];
        for value in headers.get_all(header::CACHE_CONTROL) {
            let Ok(text) = value.to_str() else {
                said.no_store = true;
                return said;
            };
            for directive in split(text) {
                let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
                let (name, argument) = (name.trim(), argument.trim().trim_matches('"'));
                let is = |known: &str| name.eq_ignore_ascii_case(known);
                let seconds = || argument.parse().ok().map(Duration::from_secs);
                if is("no-store") {
                    said.no_store = true;
                    return said;
                } else if is("must-revalidate") || is("no-cache") {
                    said.strict = true;
                } else if is("proxy-revalidate") {
                    said.strict |= shared;
                } else if is("max-age") || is("s-maxage") {
                    said.lifetime = true;
                    let slot = usize::from(is("s-maxage"));
                    said.strict |= shared && slot == 1;
                    // RFC 9111 §4.2.1: two that differ are invalid.
                    said.strict |= ages[slot].replace(argument).is_some_and(|a| a != argument);
                } else if is("stale-while-revalidate") {
                    said.stale_while_revalidate = seconds();
                } else if is("stale-if-error") {
                    said.stale_if_error = seconds();
                }
            }
        }
        said
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

    fn said(text: &str) -> Directives {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
        headers.insert(header::CACHE_CONTROL, value);
        Directives::of(&headers, true)
    }

    #[test]
    fn no_store_is_seen_however_it_is_written() {
        for text in ["no-store", "max-age=60, No-Store", "private,no-store", "ü"] {
            assert!(said(text).no_store, "{text}");
        }
        for text in ["max-age=60", "x=\"a, no-store\"", "no-store-x", ""] {
            assert!(!said(text).no_store, "{text}");
        }
    }

    #[test]
    fn rfc_5861_is_read() {
        let both = said("max-age=600, stale-while-revalidate=30, Stale-If-Error=\"1200\"");
        assert_eq!(both.stale_while_revalidate, Some(Duration::from_secs(30)));
        assert_eq!(both.stale_if_error, Some(Duration::from_secs(1200)));
        assert!(!both.strict && both.lifetime);
        assert_eq!(said("stale-if-error=soon").stale_if_error, None);
    }

    #[test]
    fn what_forbids_stale_answers_is_seen() {
        for text in [
            "must-revalidate",
            "proxy-revalidate",
            "no-cache",
            "s-maxage=60",
            "max-age=60, max-age=90",
        ] {
            assert!(said(text).strict, "{text}");
        }
        assert!(!said("max-age=60, max-age=60, public").strict);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("s-maxage=1"),
        );
        assert!(!Directives::of(&headers, false).strict);
    }
}
