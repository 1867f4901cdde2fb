//! Reports the result of a read in `X-Cache` and `Cache-Status` (RFC 9211).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use bff_context::context::{CacheResult, Provenance};

/// The cache result, for people.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// The cache result, for machines (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Writes the cache result of a whole response: one list member for all its sections. Without sections it writes
/// nothing.
pub fn write_headers<'a>(
    sections: impl Iterator<Item = &'a Provenance> + Clone,
    headers: &mut HeaderMap,
) {
    let all = |results: &[CacheResult]| sections.clone().all(|s| results.contains(&s.cache_result));
    let any = |result: CacheResult| sections.clone().any(|s| s.cache_result == result);
    if sections.clone().next().is_none() {
        return;
    }
    let (x_cache, status): (&'static str, Cow<'static, str>) = if any(CacheResult::StaleIfError) {
        let failed = sections
            .clone()
            .find(|s| s.cache_result == CacheResult::StaleIfError);
        let reason = failed.and_then(|s| s.reason);
        let status = reason.map_or("bff; fwd=stale".into(), |reason| {
            format!("bff; fwd=stale; detail={}", reason.as_str()).into()
        });
        ("STALE", status)
    } else if all(&[CacheResult::Hit]) {
        let fresh_secs = sections.clone().map(|s| s.fresh_for).min();
        let fresh_secs = fresh_secs.unwrap_or_default().as_secs();
        ("HIT", format!("bff; hit; ttl={fresh_secs}").into())
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
    headers.insert(X_CACHE, HeaderValue::from_static(x_cache));
    if let Ok(status) = HeaderValue::try_from(&*status) {
        headers.insert(CACHE_STATUS, status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_context::context::Reason;
    use bff_context::scope::CacheVisibility;
    use std::time::Duration;

    fn written_headers(reads: &[(CacheResult, u64)]) -> (String, String) {
        let sections: Vec<Provenance> = (reads.iter())
            .map(|(cache_result, fresh_secs)| {
                let fresh_secs = Duration::from_secs(*fresh_secs);
                Provenance {
                    cache_result: *cache_result,
                    reason: (*cache_result == CacheResult::StaleIfError).then_some(Reason::Timeout),
                    ..Provenance::fresh("alpha", fresh_secs, CacheVisibility::default())
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
    fn a_composed_response_has_one_member() {
        use CacheResult::{Bypass, Coalesced, Hit, Miss, Stale, StaleIfError};
        for (reads, x_cache, status) in [
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
            assert_eq!(
                written_headers(reads),
                (x_cache.into(), status.into()),
                "{reads:?}"
            );
        }
    }
}
