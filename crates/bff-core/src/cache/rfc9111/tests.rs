//! RFC 9111 and RFC 5861, section by section.

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// 2026-01-01T00:00:00Z.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + s(1_767_225_600)
}

fn headers(of: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in of {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::try_from(*value).unwrap());
    }
    map
}

/// A call as the typed client makes it.
struct Case {
    method: Method,
    asked: HeaderMap,
    status: u16,
    took: Duration,
    keep: CachePolicy,
}

impl Case {
    fn shared() -> Self {
        Self {
            method: Method::GET,
            asked: headers(&[("accept", "application/json")]),
            status: 200,
            took: Duration::ZERO,
            keep: CachePolicy::default_for(false),
        }
    }

    fn judge(&self, answer: &[(&str, &str)]) -> StorageDecision {
        let asked = RequestView {
            method: &self.method,
            headers: &self.asked,
        };
        let answer = ResponseView {
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: &headers(answer),
            at: noon(),
            took: self.took,
        };
        evaluate(&asked, answer, &self.keep)
    }

    /// May it be kept, and for how many seconds is it fresh?
    fn says(&self, answer: &[(&str, &str)]) -> (bool, u64) {
        let terms = self.judge(answer);
        (terms.may_keep, terms.fresh_for.as_secs())
    }
}

fn plain(cache_control: &str) -> (bool, u64) {
    Case::shared().says(&[("cache-control", cache_control)])
}

#[test]
fn section_3_what_may_be_stored() {
    for (said, kept) in [
        ("max-age=60", (true, 60)),
        ("public", (true, 0)),
        ("", (true, 0)),
        // 5.2.2.5, 5.2.2.7
        ("no-store", (false, 0)),
        ("max-age=60, no-store", (false, 0)),
        ("No-Store", (false, 0)),
        ("private", (false, 0)),
        ("Private, max-age=60", (false, 0)),
        ("private=\"x\", max-age=60", (false, 0)),
    ] {
        assert_eq!(plain(said), kept, "{said:?}");
    }
    // Methods and statuses that a cache understands.
    let fresh = [("cache-control", "max-age=60")];
    for (method, status, kept) in [
        (Method::GET, 200, true),
        (Method::GET, 203, true),
        (Method::GET, 204, true),
        (Method::GET, 206, false),
        (Method::GET, 404, true),
        (Method::GET, 410, true),
        (Method::GET, 500, false),
        (Method::HEAD, 200, true),
        (Method::PUT, 200, false),
        (Method::DELETE, 200, false),
    ] {
        let case = Case {
            method: method.clone(),
            status,
            ..Case::shared()
        };
        assert_eq!(case.says(&fresh).0, kept, "{method} {status}");
    }
}

#[test]
fn section_3_5_what_was_asked_with_authorization() {
    let case = Case {
        asked: headers(&[("authorization", "Bearer x")]),
        ..Case::shared()
    };
    for (said, kept) in [
        ("max-age=60", false),
        ("public, max-age=60", true),
        ("must-revalidate, max-age=60", true),
        ("s-maxage=60", true),
    ] {
        assert_eq!(case.says(&[("cache-control", said)]).0, kept, "{said}");
    }
}

#[test]
fn section_4_1_vary() {
    let with = |vary: &'static str| {
        Case::shared().says(&[("cache-control", "max-age=60"), ("vary", vary)])
    };
    for (vary, kept) in [
        ("accept-language", true),
        ("Accept, Accept-Encoding, X-User-Id", true),
        ("*", false),
        ("X-Request-ID", false),
        ("accept, traceparent", false),
        ("Priority", false),
        ("request-timeout", false),
    ] {
        assert_eq!(with(vary).0, kept, "{vary}");
    }
}

#[test]
fn section_4_2_1_the_lifetime() {
    for (said, fresh) in [
        ("max-age=60", 60),
        ("max-age=60, s-maxage=10", 10),
        ("s-maxage=90", 90),
        ("MAX-AGE=60", 60),
        ("max-age=\"60\"", 60),
        ("max-age=-1", 0),
        ("max-age=soon", 0),
        ("max-age=0", 0),
        ("no-cache, max-age=60", 0),
        ("max-age=60, immutable", 60),
        ("immutable", 0),
    ] {
        assert_eq!(plain(said).1, fresh, "{said}");
    }
    let expires = |at: &'static str, more: &'static str| {
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        let said = [("expires", at), ("date", date), ("cache-control", more)];
        Case::shared().says(&said).1
    };
    assert_eq!(expires("Thu, 01 Jan 2026 00:01:00 GMT", ""), 60);
    assert_eq!(expires("Thu, 01 Jan 2026 00:01:00 GMT", "max-age=5"), 5);
    assert_eq!(expires("Wed, 31 Dec 2025 23:59:00 GMT", ""), 0);
    assert_eq!(expires("0", ""), 0);
}

#[test]
fn section_4_2_2_nothing_is_guessed() {
    let modified = [
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT"),
    ];
    assert_eq!(Case::shared().says(&modified), (true, 0));
}

#[test]
fn section_4_2_3_the_age() {
    let age = |more: (&'static str, &'static str), took: u64| {
        let case = Case {
            took: s(took),
            ..Case::shared()
        };
        let terms = case.judge(&[("cache-control", "max-age=60"), more]);
        (terms.age.as_secs(), terms.fresh_for.as_secs())
    };
    assert_eq!(age(("x", ""), 0), (0, 60));
    assert_eq!(age(("age", "10"), 0), (10, 50));
    assert_eq!(age(("age", "10"), 2), (12, 48));
    assert_eq!(age(("age", "90"), 0), (90, 0));
    assert_eq!(age(("date", "Wed, 31 Dec 2025 23:59:39 GMT"), 0), (20, 40));
    // A second is what `Date` cannot tell; a clock that is ahead tells nothing.
    assert_eq!(age(("date", "Wed, 31 Dec 2025 23:59:59 GMT"), 0), (0, 60));
    assert_eq!(age(("date", "Thu, 01 Jan 2026 00:05:00 GMT"), 0), (0, 60));
}

#[test]
fn section_4_2_4_what_may_not_be_stale() {
    let mut case = Case::shared();
    case.keep.stale_if_error(s(600));
    case.keep.stale_while_revalidate(s(30));
    for (said, bounds) in [
        ("max-age=60", (30, 600)),
        ("", (30, 600)),
        // RFC 5861: the backend may lower what the call bears, and never raise it.
        ("max-age=60, stale-if-error=5", (30, 5)),
        (
            "max-age=60, stale-if-error=9000, stale-while-revalidate=1",
            (1, 600),
        ),
        ("max-age=60, must-revalidate", (0, 0)),
        ("max-age=60, proxy-revalidate", (0, 0)),
        ("s-maxage=60", (0, 0)),
        ("no-cache", (0, 0)),
        ("max-age=60, max-age=90", (0, 0)),
    ] {
        let terms = case.judge(&[("cache-control", said)]);
        let told = (
            terms.stale_while_revalidate.as_secs(),
            terms.stale_if_error.as_secs(),
        );
        assert_eq!(told, bounds, "{said:?}");
    }
    // A call that says nothing is never served stale, whatever the backend says.
    let said = [("cache-control", "max-age=60, stale-if-error=600")];
    assert_eq!(Case::shared().judge(&said).stale_if_error, s(0));
}

#[test]
fn a_call_sets_freshness_but_never_over_a_refusal() {
    let mut case = Case::shared();
    case.keep.ttl(s(300));
    for (said, kept) in [
        ("max-age=60", (true, 300)),
        ("", (true, 300)),
        ("public", (true, 300)),
        ("no-store", (false, 0)),
        ("private, max-age=60", (false, 0)),
        ("no-cache", (true, 0)),
        ("max-age=0", (true, 0)),
    ] {
        assert_eq!(case.says(&[("cache-control", said)]), kept, "{said:?}");
    }
    assert_eq!(
        case.says(&[("age", "100"), ("cache-control", "max-age=600")])
            .1,
        200
    );
    // Nor does it make an answer of nothing last.
    case.status = 404;
    assert_eq!(case.says(&[]).1, 0);
    assert_eq!(case.says(&[("cache-control", "max-age=5")]).1, 5);
}

#[test]
fn what_is_one_callers_is_judged_as_in_their_own_cache() {
    let mut case = Case {
        keep: CachePolicy::default_for(true),
        ..Case::shared()
    };
    assert_eq!(
        case.says(&[("cache-control", "private, max-age=60")]),
        (false, 60)
    );
    case.keep.private_ttl(s(5));
    assert_eq!(
        case.says(&[("cache-control", "private, max-age=60")]),
        (true, 5)
    );
    assert_eq!(
        case.says(&[("cache-control", "private, no-store")]),
        (false, 0)
    );
}

#[test]
fn what_is_kept_of_a_head_holds_on_to_nothing_else_that_was_read() {
    let read = bytes::Bytes::from([b"\"a\"max-age=5public", &[b'x'; 4096][..]].concat());
    let part = |range| HeaderValue::from_maybe_shared(read.slice(range)).unwrap();
    let mut head = HeaderMap::new();
    head.insert(header::ETAG, part(0..3));
    head.append(header::CACHE_CONTROL, part(3..12));
    head.append(header::CACHE_CONTROL, part(12..18));
    let kept = stored_headers(&head);
    assert_eq!(kept, head);
    let again = merge_304_headers(&kept, &head).unwrap();
    assert_eq!(again, head);
    drop(head);
    assert!(read.is_unique());
}

#[test]
fn section_4_3_4_a_304_freshens_the_head() {
    let kept = headers(&[
        ("etag", "\"a\""),
        ("cache-control", "max-age=60"),
        ("age", "50"),
    ]);
    let told = headers(&[
        ("etag", "W/\"a\""),
        ("cache-control", "max-age=5"),
        ("x", "y"),
    ]);
    let head = merge_304_headers(&kept, &told).unwrap();
    assert_eq!(head["cache-control"], "max-age=5");
    assert!(!head.contains_key("age") && !head.contains_key("x"));
    // What only the 304 has counts too, and what it leaves out stays.
    let told = headers(&[("expires", "0")]);
    let head = merge_304_headers(&kept, &told).unwrap();
    assert_eq!(
        (&head["etag"], &head["expires"]),
        (&kept["etag"], &told["expires"])
    );
    assert!(merge_304_headers(&kept, &headers(&[("etag", "\"b\"")])).is_none());
    let untagged = headers(&[("last-modified", "x")]);
    assert!(merge_304_headers(&untagged, &headers(&[("etag", "\"b\"")])).is_none());
}

fn directive() -> impl Strategy<Value = String> {
    let number = prop::sample::select(&["0", "1", "60", "600", "x", "\"9\""][..]);
    let name = prop::sample::select(
        &[
            "max-age",
            "s-maxage",
            "no-store",
            "No-Store",
            "private",
            "PRIVATE",
            "no-cache",
            "public",
            "must-revalidate",
            "stale-if-error",
            "stale-while-revalidate",
            "immutable",
            "",
        ][..],
    );
    (name, prop::option::of(number)).prop_map(|(name, number)| match number {
        Some(number) => format!("{name}={number}"),
        None => name.to_owned(),
    })
}

proptest! {
    #[test]
    fn no_combination_keeps_what_is_forbidden(
        directives in prop::collection::vec(directive(), 0..6),
        age in 0_u64..100,
        ttl in prop::option::of(0_u64..1000),
        bound in 0_u64..1000,
    ) {
        let mut case = Case::shared();
        case.keep.ttl = ttl.map(s);
        case.keep.stale_if_error(s(bound));
        let said = directives.join(", ");
        let terms = case.judge(&[("cache-control", &said), ("age", &age.to_string())]);
        let quiet = said.to_ascii_lowercase();
        let has = |name: &str| quiet.split(", ").any(|d| d.split('=').next() == Some(name));
        if has("no-store") || has("private") {
            prop_assert_eq!(terms, StorageDecision::default());
        }
        if has("no-cache") {
            prop_assert_eq!(terms.fresh_for, s(0));
        }
        if has("no-cache") || has("must-revalidate") || has("s-maxage") {
            prop_assert_eq!(terms.stale_if_error, s(0));
        }
        prop_assert!(terms.stale_if_error <= s(bound));
        prop_assert!(terms.fresh_for <= s(ttl.unwrap_or(0).max(600)));
    }

    #[test]
    fn no_header_panics(value: Vec<u8>, name in prop::sample::select(&["cache-control", "age", "vary", "expires", "date"][..])) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut map = HeaderMap::new();
            map.insert(name, value);
            let (asked, method) = (HeaderMap::new(), Method::GET);
            let asked = RequestView { method: &method, headers: &asked };
            let answer = ResponseView { status: StatusCode::OK, headers: &map, at: noon(), took: s(0) };
            let terms = evaluate(&asked, answer, &CachePolicy::default_for(false));
            let _ = merge_304_headers(&map, &map);
            prop_assert!(terms.fresh_for < Duration::MAX);
        }
    }
}
