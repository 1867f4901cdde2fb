//! How long a backend lets its answer be kept, read from `Cache-Control` and `Age` (RFC 9111 §4.2.1).

use std::time::Duration;

use http::{HeaderMap, header};

/// The freshness left: zero without an explicit lifetime, for `no-store`, `no-cache` and `private`.
pub fn left(headers: &HeaderMap) -> Duration {
    let mut lifetime = None;
    for value in headers.get_all(header::CACHE_CONTROL) {
        let Ok(value) = value.to_str() else {
            return Duration::ZERO;
        };
        for directive in value.split(',').map(str::trim) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || argument.trim_matches('"').parse::<u64>().ok();
            if name.eq_ignore_ascii_case("max-age") {
                lifetime = seconds();
            } else if ["no-store", "no-cache", "private"]
                .iter()
                .any(|d| name.eq_ignore_ascii_case(d))
            {
                return Duration::ZERO;
            }
        }
    }
    let age = headers
        .get(header::AGE)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    Duration::from_secs(lifetime.unwrap_or(0).saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(cache_control: &'static str, age: &'static str) -> u64 {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static(cache_control),
        );
        headers.insert(header::AGE, HeaderValue::from_static(age));
        left(&headers).as_secs()
    }

    #[test]
    fn only_an_explicit_lifetime_counts_less_its_age() {
        assert_eq!(of("public, max-age=60", "10"), 50);
        assert_eq!(of("Max-Age=60", "90"), 0);
        assert_eq!(of("max-age=60, no-store", "0"), 0);
        assert_eq!(of("private, max-age=60", "0"), 0);
        assert_eq!(of("public", "0"), 0);
        assert_eq!(left(&HeaderMap::new()), Duration::ZERO);
    }
}
