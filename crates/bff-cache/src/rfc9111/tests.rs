//! RFC 9111 and RFC 5861, section by section.

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// 2026-01-01T00:00:00Z.
fn start_of_2026() -> SystemTime {
    SystemTime::UNIX_EPOCH + s(1_767_225_600)
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::try_from(*value).unwrap());
    }
    map
}

/// A call of the typed client, and the delay and status of its response.
struct Case {
    method: Method,
    request: HeaderMap,
    status: u16,
    response_delay: Duration,
    policy: CachePolicy,
}

impl Case {
    fn shared() -> Self {
        Self {
            method: Method::GET,
            request: headers(&[("accept", "application/json")]),
            status: 200,
            response_delay: Duration::ZERO,
            policy: CachePolicy::default_for(false),
        }
    }

    fn evaluate(&self, response: &[(&str, &str)]) -> StorageDecision {
        let request = RequestView {
            method: &self.method,
            headers: &self.request,
        };
        let response = ResponseView {
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: &headers(response),
            received_at: start_of_2026(),
            response_delay: self.response_delay,
        };
        evaluate(&request, response, &self.policy)
    }

    /// Whether the response may be stored, and its freshness in seconds.
    fn storable_and_fresh_secs(&self, response: &[(&str, &str)]) -> (bool, u64) {
        let decision = self.evaluate(response);
        (decision.may_store, decision.fresh_for.as_secs())
    }
}

fn storable_and_fresh_secs_of(cache_control: &str) -> (bool, u64) {
    Case::shared().storable_and_fresh_secs(&[("cache-control", cache_control)])
}

#[test]
fn section_3_storing_responses() {
    for (text, expected) in [
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
        assert_eq!(storable_and_fresh_secs_of(text), expected, "{text:?}");
    }
    // Methods and statuses that a cache may store.
    let fresh = [("cache-control", "max-age=60")];
    for (method, status, expected) in [
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
        assert_eq!(
            case.storable_and_fresh_secs(&fresh).0,
            expected,
            "{method} {status}"
        );
    }
}

#[test]
fn section_3_5_responses_to_authorized_requests() {
    let case = Case {
        request: headers(&[("authorization", "Bearer x")]),
        ..Case::shared()
    };
    for (text, expected) in [
        ("max-age=60", false),
        ("public, max-age=60", true),
        ("must-revalidate, max-age=60", true),
        ("s-maxage=60", true),
    ] {
        assert_eq!(
            case.storable_and_fresh_secs(&[("cache-control", text)]).0,
            expected,
            "{text}"
        );
    }
}

#[test]
fn section_4_1_vary() {
    let with = |vary: &'static str| {
        Case::shared().storable_and_fresh_secs(&[("cache-control", "max-age=60"), ("vary", vary)])
    };
    for (vary, expected) in [
        ("accept-language", true),
        ("Accept, Accept-Encoding, X-User-Id", true),
        ("*", false),
        ("X-Request-ID", false),
        ("accept, traceparent", false),
        ("Priority", false),
        ("request-timeout", false),
    ] {
        assert_eq!(with(vary).0, expected, "{vary}");
    }
}

#[test]
fn section_4_2_1_the_lifetime() {
    for (text, fresh) in [
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
        assert_eq!(storable_and_fresh_secs_of(text).1, fresh, "{text}");
    }
    let expires = |at: &'static str, more: &'static str| {
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        let text = [("expires", at), ("date", date), ("cache-control", more)];
        Case::shared().storable_and_fresh_secs(&text).1
    };
    assert_eq!(expires("Thu, 01 Jan 2026 00:01:00 GMT", ""), 60);
    assert_eq!(expires("Thu, 01 Jan 2026 00:01:00 GMT", "max-age=5"), 5);
    assert_eq!(expires("Wed, 31 Dec 2025 23:59:00 GMT", ""), 0);
    assert_eq!(expires("0", ""), 0);
}

#[test]
fn section_4_2_2_no_heuristic_freshness() {
    let modified = [
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT"),
    ];
    assert_eq!(Case::shared().storable_and_fresh_secs(&modified), (true, 0));
}

#[test]
fn section_4_2_3_the_age() {
    let age = |more: (&'static str, &'static str), response_delay: u64| {
        let case = Case {
            response_delay: s(response_delay),
            ..Case::shared()
        };
        let decision = case.evaluate(&[("cache-control", "max-age=60"), more]);
        (decision.age.as_secs(), decision.fresh_for.as_secs())
    };
    assert_eq!(age(("x", ""), 0), (0, 60));
    assert_eq!(age(("age", "10"), 0), (10, 50));
    assert_eq!(age(("age", "10"), 2), (12, 48));
    assert_eq!(age(("age", "90"), 0), (90, 0));
    assert_eq!(age(("date", "Wed, 31 Dec 2025 23:59:39 GMT"), 0), (20, 40));
    // One second is the resolution of `Date`. A backend clock that is ahead has no effect.
    assert_eq!(age(("date", "Wed, 31 Dec 2025 23:59:59 GMT"), 0), (0, 60));
    assert_eq!(age(("date", "Thu, 01 Jan 2026 00:05:00 GMT"), 0), (0, 60));
}

#[test]
fn section_4_2_4_directives_that_forbid_stale_use() {
    let mut case = Case::shared();
    case.policy.stale_if_error(s(600));
    case.policy.stale_while_revalidate(s(30));
    for (text, bounds) in [
        ("max-age=60", (30, 600)),
        ("", (30, 600)),
        // RFC 5861: the backend may lower the bound of the call, and never raise it.
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
        let decision = case.evaluate(&[("cache-control", text)]);
        let actual = (
            decision.stale_while_revalidate.as_secs(),
            decision.stale_if_error.as_secs(),
        );
        assert_eq!(actual, bounds, "{text:?}");
    }
    // Without a bound in the call, a stale response is never served.
    let text = [("cache-control", "max-age=60, stale-if-error=600")];
    assert_eq!(Case::shared().evaluate(&text).stale_if_error, s(0));
}

#[test]
fn a_ttl_never_overrides_a_backend_that_forbids_storing() {
    let mut case = Case::shared();
    case.policy.ttl(s(300));
    for (text, expected) in [
        ("max-age=60", (true, 300)),
        ("", (true, 300)),
        ("public", (true, 300)),
        ("no-store", (false, 0)),
        ("private, max-age=60", (false, 0)),
        ("no-cache", (true, 0)),
        ("max-age=0", (true, 0)),
    ] {
        assert_eq!(
            case.storable_and_fresh_secs(&[("cache-control", text)]),
            expected,
            "{text:?}"
        );
    }
    assert_eq!(
        case.storable_and_fresh_secs(&[("age", "100"), ("cache-control", "max-age=600")])
            .1,
        200
    );
    // The TTL does not apply to a 404.
    case.status = 404;
    assert_eq!(case.storable_and_fresh_secs(&[]).1, 0);
    assert_eq!(
        case.storable_and_fresh_secs(&[("cache-control", "max-age=5")])
            .1,
        5
    );
}

#[test]
fn a_callers_responses_are_evaluated_as_in_a_private_cache() {
    let mut case = Case {
        policy: CachePolicy::default_for(true),
        ..Case::shared()
    };
    assert_eq!(
        case.storable_and_fresh_secs(&[("cache-control", "private, max-age=60")]),
        (false, 60)
    );
    case.policy.private_ttl(s(5));
    assert_eq!(
        case.storable_and_fresh_secs(&[("cache-control", "private, max-age=60")]),
        (true, 5)
    );
    assert_eq!(
        case.storable_and_fresh_secs(&[("cache-control", "private, no-store")]),
        (false, 0)
    );
}

#[test]
fn stored_headers_do_not_retain_the_receive_buffer() {
    let read = bytes::Bytes::from([b"\"a\"max-age=5public", &[b'x'; 4096][..]].concat());
    let part = |range| HeaderValue::from_maybe_shared(read.slice(range)).unwrap();
    let mut head = HeaderMap::new();
    head.insert(header::ETAG, part(0..3));
    head.append(header::CACHE_CONTROL, part(3..12));
    head.append(header::CACHE_CONTROL, part(12..18));
    let stored = stored_headers(&head);
    assert_eq!(stored, head);
    let again = merge_304_headers(&stored, &head).unwrap();
    assert_eq!(again, head);
    drop(head);
    assert!(read.is_unique());
}

#[test]
fn section_4_3_4_a_304_updates_the_stored_headers() {
    let stored = headers(&[
        ("etag", "\"a\""),
        ("cache-control", "max-age=60"),
        ("age", "50"),
    ]);
    let update = headers(&[
        ("etag", "W/\"a\""),
        ("cache-control", "max-age=5"),
        ("x", "y"),
        ("content-length", "0"),
    ]);
    let head = merge_304_headers(&stored, &update).unwrap();
    assert_eq!(head["cache-control"], "max-age=5");
    assert_eq!(head["x"], "y");
    assert!(!head.contains_key("age") && !head.contains_key("content-length"));
    // Fields that only the 304 has are added. Fields that it lacks remain.
    let update = headers(&[("expires", "0")]);
    let head = merge_304_headers(&stored, &update).unwrap();
    assert_eq!(
        (&head["etag"], &head["expires"]),
        (&stored["etag"], &update["expires"])
    );
    assert!(merge_304_headers(&stored, &headers(&[("etag", "\"b\"")])).is_none());
    let untagged = headers(&[("last-modified", "x")]);
    assert!(merge_304_headers(&untagged, &headers(&[("etag", "\"b\"")])).is_none());
}

/// The lifetime of a response with these lines of `Cache-Control`, and whether it may be served stale.
fn lifetime_and_stale(lines: &[&str]) -> (u64, bool) {
    let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
    let mut case = Case::shared();
    case.policy.stale_if_error(s(1));
    let decision = case.evaluate(&lines);
    let is_stale_allowed = !decision.stale_if_error.is_zero();
    (decision.fresh_for.as_secs(), is_stale_allowed)
}

#[test]
fn section_5_2_the_grammar_of_cache_control() {
    for (lines, fresh, stale) in [
        // Names without case, white space around members, empty members, several lines.
        (&["Max-Age=60"][..], 60, true),
        (&["public,,max-age=60 ,"], 60, true),
        (&["\tpublic ,\tmax-age=60"], 60, true),
        (&["public", "max-age=60"], 60, true),
        (&["max-age=60", "no-cache"], 0, false),
        (&["max-age=60", "Must-Revalidate"], 60, false),
        (&["\u{e9}", "max-age=60"], 0, false),
        // Tokens and quoted strings.
        (&["max-age=\"60\""], 60, true),
        (&["max-age=\"6\\0\""], 60, true),
        (&["s-maxage=\"60\", max-age=5"], 60, false),
        (&["ext=\"a, max-age=600, no-store\", max-age=60"], 60, true),
        (&["ext=\"\\\", max-age=600\", max-age=60"], 60, true),
        (&["ext=\"a, no-cache\", max-age=60"], 60, true),
        (
            &["max-age=60, ext=\"a, must-revalidate, s-maxage=5\""],
            60,
            true,
        ),
        (&["no-cache=\"Set-Cookie, X-A\", max-age=60"], 0, false),
        (&["NO-CACHE=X-A, max-age=60"], 0, false),
        (&["ext=\"max-age=600", "max-age=60"], 0, false),
        // Numbers: digits only; one that is too large counts as 2^31 (section 1.2.2).
        (&["max-age=0060"], 60, true),
        (&["max-age=2147483647"], 2_147_483_647, true),
        (&["max-age=2147483648"], 1 << 31, true),
        (&["max-age=4294967296"], 1 << 31, true),
        (&["max-age=99999999999999999999999"], 1 << 31, true),
        (&["s-maxage=99999999999999999999999"], 1 << 31, false),
        (&["max-age=99999999999999999999999, s-maxage=5"], 5, false),
        // Invalid lifetimes: the response is stale (section 4.2.1).
        (&["max-age"], 0, true),
        (&["max-age="], 0, true),
        (&["max-age=\"\""], 0, true),
        (&["max-age=\"60"], 0, false),
        (&["max-age=60\""], 0, false),
        (&["max-age='60'"], 0, true),
        (&["max-age=+60"], 0, true),
        (&["max-age=-60"], 0, true),
        (&["max-age=60.5"], 0, true),
        (&["max-age=60s"], 0, true),
        (&["max-age=0x60"], 0, true),
        (&["max-age=6 0"], 0, true),
        (&["max-age:60"], 0, true),
        (&["s-maxage=soon, max-age=60"], 0, false),
        // Repeated: equal values are one; with different ones nothing is served stale.
        (&["max-age=60, max-age=\"60\""], 60, true),
        (&["max-age=60", "max-age=60"], 60, true),
        (&["max-age=60", "max-age=90"], 60, false),
        (&["max-agee=60"], 0, true),
    ] {
        assert_eq!(lifetime_and_stale(lines), (fresh, stale), "{lines:?}");
    }
    for line in [
        "private=\"a, b\", max-age=60",
        "PRIVATE=\"a\"",
        "ext=\"a\", private",
        "no-store=\"a\"",
        "ext=\"a\"\", no-store",
    ] {
        assert!(!storable_and_fresh_secs_of(line).0, "{line}");
    }
    for line in [
        "ext=\"a, private\"",
        "ext=private",
        "ext=\"no-store, private\"",
    ] {
        assert!(storable_and_fresh_secs_of(line).0, "{line}");
    }
}

#[test]
fn section_5_1_the_grammar_of_age() {
    for (lines, age) in [
        (&["10"][..], 10),
        (&["0010"], 10),
        (&["10, 20"], 10),
        (&["10", "20"], 10),
        (&["0, 20"], 0),
        // Too large: older than every lifetime.
        (&["2147483648"], 1 << 31),
        (&["99999999999999999999"], 1 << 31),
        // Invalid: ignored.
        (&[""], 0),
        (&["-10"], 0),
        (&["+10"], 0),
        (&["10.5"], 0),
        (&["10s"], 0),
        (&["\"10\""], 0),
        (&["ten"], 0),
        (&["10;a=b"], 0),
    ] {
        let mut fields = vec![("cache-control", "max-age=60")];
        fields.extend(lines.iter().map(|line| ("age", *line)));
        let decision = Case::shared().evaluate(&fields);
        let fresh = 60_u64.saturating_sub(age);
        let actual = (decision.age.as_secs(), decision.fresh_for.as_secs());
        assert_eq!(actual, (age, fresh), "{lines:?}");
    }
}

#[test]
fn section_5_3_dates_have_three_forms() {
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    for (lines, fresh) in [
        (&["Thu, 01 Jan 2026 00:01:00 GMT"][..], 60),
        (&["Thursday, 01-Jan-26 00:01:00 GMT"], 60),
        (&["Thu Jan  1 00:01:00 2026"], 60),
        (&["Thu, 01 Jan 2026 00:01:00 GMT", "0"], 60),
        (&["0", "Thu, 01 Jan 2026 00:01:00 GMT"], 0),
        // Invalid: in the past.
        (&["0"], 0),
        (&["-1"], 0),
        (&[""], 0),
        (&["60"], 0),
        (&["1767225660"], 0),
        (&["2026-01-01T00:01:00Z"], 0),
        (&["Thu, 01 Jan 2026 00:01:00 +0100"], 0),
        (&["Thu, 01 Jan 2026 00:01:00 UTC"], 0),
        (&["Thu, 01 Jan 2026 00:01 GMT"], 0),
        (&["Thu, 32 Jan 2026 00:01:00 GMT"], 0),
        (&["\"Thu, 01 Jan 2026 00:01:00 GMT\""], 0),
        (&["Thu, 01 Jan 1926 00:01:00 GMT"], 0),
        (&["never"], 0),
    ] {
        let mut fields = vec![("date", date)];
        fields.extend(lines.iter().map(|line| ("expires", *line)));
        assert_eq!(
            Case::shared().storable_and_fresh_secs(&fields).1,
            fresh,
            "{lines:?}"
        );
        // A lifetime in Cache-Control wins, also an invalid one.
        fields.push(("cache-control", "max-age=5"));
        assert_eq!(
            Case::shared().storable_and_fresh_secs(&fields).1,
            5,
            "{lines:?}"
        );
        fields.push(("cache-control", "max-age"));
        assert!(
            Case::shared().storable_and_fresh_secs(&fields).1 <= 5,
            "{lines:?}"
        );
    }
    let invalid = [
        ("expires", "Thu, 01 Jan 2026 00:01:00 GMT"),
        ("cache-control", "max-age"),
    ];
    assert_eq!(Case::shared().storable_and_fresh_secs(&invalid).1, 0);
    for (date, fresh) in [
        ("Wed, 31 Dec 2025 23:59:30 GMT", 30),
        ("Wednesday, 31-Dec-25 23:59:30 GMT", 30),
        ("Wed Dec 31 23:59:30 2025", 30),
        // Invalid: the time of arrival counts.
        ("yesterday", 60),
        ("", 60),
    ] {
        let fields = [("date", date), ("cache-control", "max-age=60")];
        // The age is one second less, because `Date` has whole seconds.
        let decision = Case::shared().evaluate(&fields);
        let expected = if fresh < 60 { fresh + 1 } else { fresh };
        assert_eq!(decision.fresh_for.as_secs(), expected, "{date}");
    }
}

#[test]
fn section_4_1_the_grammar_of_vary() {
    for (lines, expected) in [
        (&["accept", "accept-language"][..], true),
        (&["accept,, ,Accept-Encoding,"], true),
        (&[""], true),
        (&["accept", "*"], false),
        (&["accept, *"], false),
        (&[" * "], false),
        (&["\u{e9}"], false),
        (&["accept", "X-Request-Id"], false),
        (&["accept,X-REQUEST-ID"], false),
    ] {
        let mut fields = vec![("cache-control", "max-age=60")];
        fields.extend(lines.iter().map(|line| ("vary", *line)));
        let storable = Case::shared().storable_and_fresh_secs(&fields).0;
        assert_eq!(storable, expected, "{lines:?}");
    }
}

#[test]
fn an_etag_is_a_condition_only_if_it_is_an_entity_tag() {
    for (etag, is_valid) in [
        ("\"a\"", true),
        ("W/\"a\"", true),
        ("\"\"", true),
        ("\"a,b\"", true),
        ("\"a b\"", true),
        ("\"\u{e9}\"", true),
        ("*", false),
        ("a", false),
        ("w/\"a\"", false),
        ("W/a", false),
        ("W/W/\"a\"", false),
        ("\"a", false),
        ("\"", false),
        ("\"a\", \"b\"", false),
        ("'a'", false),
        ("", false),
    ] {
        let stored = stored_headers(&headers(&[("etag", etag)]));
        assert_eq!(stored.contains_key("etag"), is_valid, "{etag}");
    }
    for (stored, update, is_about_stored) in [
        ("\"a\"", "W/\"a\"", true),
        ("W/\"a\"", "\"a\"", true),
        ("\"a,b\"", "\"a,b\"", true),
        ("\"a\"", "\"A\"", false),
        ("\"a,b\"", "\"a\"", false),
        // No entity tag says nothing.
        ("\"a\"", "a", true),
    ] {
        let merged =
            merge_304_headers(&headers(&[("etag", stored)]), &headers(&[("etag", update)]));
        assert_eq!(merged.is_some(), is_about_stored, "{stored} {update}");
    }
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
    fn no_combination_stores_a_forbidden_response(
        directives in prop::collection::vec(directive(), 0..6),
        age in 0_u64..100,
        ttl in prop::option::of(0_u64..1000),
        bound in 0_u64..1000,
    ) {
        let mut case = Case::shared();
        case.policy.ttl = ttl.map(s);
        case.policy.stale_if_error(s(bound));
        let text = directives.join(", ");
        let decision = case.evaluate(&[("cache-control", &text), ("age", &age.to_string())]);
        let lowercased = text.to_ascii_lowercase();
        let has = |name: &str| lowercased.split(", ").any(|d| d.split('=').next() == Some(name));
        if has("no-store") || has("private") {
            prop_assert_eq!(decision, StorageDecision::default());
        }
        if has("no-cache") {
            prop_assert_eq!(decision.fresh_for, s(0));
        }
        if has("no-cache") || has("must-revalidate") || has("s-maxage") {
            prop_assert_eq!(decision.stale_if_error, s(0));
        }
        prop_assert!(decision.stale_if_error <= s(bound));
        prop_assert!(decision.fresh_for <= s(ttl.unwrap_or(0).max(600)));
    }

    #[test]
    fn no_header_panics(value: Vec<u8>, name in prop::sample::select(&["cache-control", "age", "vary", "expires", "date"][..])) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut map = HeaderMap::new();
            map.insert(name, value);
            let (request, method) = (HeaderMap::new(), Method::GET);
            let request = RequestView { method: &method, headers: &request };
            let response = ResponseView { status: StatusCode::OK, headers: &map, received_at: start_of_2026(), response_delay: s(0) };
            let decision = evaluate(&request, response, &CachePolicy::default_for(false));
            let _ = merge_304_headers(&map, &map);
            prop_assert!(decision.fresh_for < Duration::MAX);
        }
    }
}
