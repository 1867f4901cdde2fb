//! How a read used the cache, in the words of metrics, of `X-Cache` and of `Cache-Status` (RFC 9211).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::context::{CacheResult, Provenance};

/// For people.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// For machines (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Tells how a whole answer came about: one member for all of its sections. Nothing is told of one without sections.
pub(crate) fn write_headers<'a>(
    sections: impl Iterator<Item = &'a Provenance> + Clone,
    headers: &mut HeaderMap,
) {
    let all = |known: &[CacheResult]| sections.clone().all(|s| known.contains(&s.cache_result));
    let any = |known: CacheResult| sections.clone().any(|s| s.cache_result == known);
    if sections.clone().next().is_none() {
        return;
    }
    let (word, status): (&'static str, Cow<'static, str>) = if any(CacheResult::StaleIfError) {
        let failed = sections
            .clone()
            .find(|s| s.cache_result == CacheResult::StaleIfError);
        let reason = failed.and_then(|s| s.reason);
        let status = reason.map_or("bff; fwd=stale".into(), |reason| {
            format!("bff; fwd=stale; detail={}", reason.as_str()).into()
        });
        ("STALE", status)
    } else if all(&[CacheResult::Hit]) {
        let left = sections.clone().map(|s| s.fresh_for).min();
        let left = left.unwrap_or_default().as_secs();
        ("HIT", format!("bff; hit; ttl={left}").into())
    } else if all(&[CacheResult::Hit, CacheResult::Stale]) {
        ("STALE", "bff; hit; detail=stale".into())
    } else if any(CacheResult::Stale) {
        ("STALE", "bff; fwd=partial; detail=stale".into())
    } else if any(CacheResult::Hit) {
        ("MISS", "bff; fwd=partial".into())
    } else if all(&[CacheResult::Coalesced]) {
        ("MISS", "bff; fwd=miss; collapsed".into())
    } else if all(&[CacheResult::Bypass]) {
        ("BYPASS", "bff; fwd=bypass".into())
    } else {
        ("MISS", "bff; fwd=miss".into())
    };
    headers.insert(X_CACHE, HeaderValue::from_static(word));
    if let Ok(status) = HeaderValue::try_from(&*status) {
        headers.insert(CACHE_STATUS, status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Reason;
    use crate::scope::CacheVisibility;
    use std::time::Duration;

    fn told(lookups: &[(CacheResult, u64)]) -> (String, String) {
        let sections: Vec<Provenance> = (lookups.iter())
            .map(|(lookup, left)| {
                let left = Duration::from_secs(*left);
                Provenance {
                    cache_result: *lookup,
                    reason: (*lookup == CacheResult::StaleIfError).then_some(Reason::Timeout),
                    ..Provenance::fresh("alpha", left, CacheVisibility::default())
                }
            })
            .collect();
        let mut headers = HeaderMap::new();
        write_headers(sections.iter(), &mut headers);
        let text = |name| {
            let value = headers.get(name);
            value.map_or(String::new(), |v: &HeaderValue| {
                v.to_str().unwrap().to_owned()
            })
        };
        (text(X_CACHE), text(CACHE_STATUS))
    }

    #[test]
    fn a_composed_answer_has_one_member() {
        use CacheResult::{Bypass, Coalesced, Hit, Miss, Stale, StaleIfError};
        for (lookups, word, status) in [
            (&[(Hit, 9), (Hit, 4)][..], "HIT", "bff; hit; ttl=4"),
            (&[(Hit, 9), (Miss, 9)], "MISS", "bff; fwd=partial"),
            (&[(Miss, 9), (Bypass, 9)], "MISS", "bff; fwd=miss"),
            (&[(Coalesced, 9)], "MISS", "bff; fwd=miss; collapsed"),
            (&[(Bypass, 0), (Bypass, 0)], "BYPASS", "bff; fwd=bypass"),
            (&[(Hit, 9), (Stale, 0)], "STALE", "bff; hit; detail=stale"),
            (
                &[(Miss, 9), (Stale, 0)],
                "STALE",
                "bff; fwd=partial; detail=stale",
            ),
            (
                &[(Miss, 9), (StaleIfError, 0)],
                "STALE",
                "bff; fwd=stale; detail=timeout",
            ),
            (&[], "", ""),
        ] {
            assert_eq!(told(lookups), (word.into(), status.into()), "{lookups:?}");
        }
    }
}
