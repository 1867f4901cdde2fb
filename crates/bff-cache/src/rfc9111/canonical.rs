//! The fields of a response in the one form that the semantics crate reads.
//!
//! The crate splits `Cache-Control` inside quoted strings, compares names with case, and reads no number that is too
//! large. It reads one form of dates and one line of each field. Here every form of the RFC becomes that one. An invalid
//! lifetime becomes zero, because such a response is stale (RFC 9111 §4.2.1).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::directives::{self, delta_seconds};

/// An `Expires` in the past (RFC 9111 §5.3).
const EXPIRED: HeaderValue = HeaderValue::from_static("0");

/// The canonical form of the fields that the crate reads. It has no `Last-Modified`, because there is no heuristic
/// freshness.
pub(super) fn canonical(headers: &HeaderMap) -> HeaderMap {
    let mut canonical = HeaderMap::with_capacity(8);
    if headers.contains_key(header::CACHE_CONTROL) {
        canonical.extend([(header::CACHE_CONTROL, cache_control(headers))]);
    } else if let Some(pragma) = first(headers, &header::PRAGMA) {
        let pragma = HeaderValue::try_from(pragma.to_ascii_lowercase());
        canonical.extend(pragma.ok().map(|pragma| (header::PRAGMA, pragma)));
    }
    if let Some(age) = age(headers) {
        canonical.insert(header::AGE, age.into());
    }
    if let Some(date) = date(headers, &header::DATE) {
        canonical.insert(header::DATE, date);
    }
    if headers.contains_key(header::EXPIRES) {
        let expires = date(headers, &header::EXPIRES).unwrap_or(EXPIRED);
        canonical.insert(header::EXPIRES, expires);
    }
    for line in headers.get_all(header::VARY) {
        // A list that cannot be read may name anything.
        let any = HeaderValue::from_static("*");
        let line = line.to_str().map_or(any, |_| line.clone());
        canonical.append(header::VARY, line);
    }
    if headers.contains_key(header::SET_COOKIE) {
        canonical.insert(header::SET_COOKIE, HeaderValue::from_static("present"));
    }
    canonical
}

/// All directives in one line: names in lower case, arguments only of lifetimes.
fn cache_control(headers: &HeaderMap) -> HeaderValue {
    let mut line = String::new();
    for (name, argument) in directives::all(headers).flatten() {
        let name = name.to_ascii_lowercase();
        let directive = match name.as_str() {
            "max-age" | "s-maxage" => {
                let seconds = delta_seconds(&argument).unwrap_or_default();
                format!("{name}={seconds}")
            }
            _ => name,
        };
        line.extend([directive.as_str(), ","]);
    }
    HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static("no-store"))
}

/// The age: the first member of a list, and nothing if it is invalid (RFC 9111 §5.1).
fn age(headers: &HeaderMap) -> Option<u64> {
    let list = first(headers, &header::AGE)?;
    delta_seconds(list.split(',').next()?.trim())
}

/// A date of any of the three forms (RFC 9110 §5.6.7), as IMF-fixdate.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let date: SystemTime = httpdate::parse_http_date(first(headers, name)?).ok()?;
    HeaderValue::try_from(httpdate::fmt_http_date(date)).ok()
}

/// The first line of a field.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
