//! Conditional requests (RFC 9110 §13). The gateway evaluates the conditions, and always fetches a full response.

use std::iter;
use std::time::SystemTime;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// `If-None-Match` and `If-Modified-Since`.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    none_match: Vec<HeaderValue>,
    modified_since: Option<HeaderValue>,
}

/// The headers that a 304 omits (RFC 9110 §15.4.5).
const BODY_HEADERS: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::ACCEPT_RANGES,
];

impl Conditions {
    /// Removes the conditions from the request.
    pub(super) fn extract(headers: &mut HeaderMap) -> Self {
        let none_match = headers.get_all(header::IF_NONE_MATCH);
        let none_match = none_match.iter().cloned().collect();
        headers.remove(header::IF_NONE_MATCH);
        // More than one date is invalid, so it is ignored (§13.1.3).
        let mut dates = headers.get_all(header::IF_MODIFIED_SINCE).iter();
        let date = dates.next().filter(|_| dates.next().is_none());
        let modified_since = date.cloned();
        headers.remove(header::IF_MODIFIED_SINCE);
        Self {
            none_match,
            modified_since,
        }
    }

    /// Returns the response, or a 304 if the client already has it.
    pub(super) fn apply(&self, mut response: Response) -> Response {
        if response.status() == StatusCode::OK && self.is_not_modified(response.headers()) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            for name in BODY_HEADERS {
                response.headers_mut().remove(name);
            }
        }
        response
    }

    fn is_not_modified(&self, headers: &HeaderMap) -> bool {
        if self.none_match.is_empty() {
            let modified = headers.get(header::LAST_MODIFIED).and_then(parse_date);
            let since = self.modified_since.as_ref().and_then(parse_date);
            return modified
                .zip(since)
                .is_some_and(|(modified, since)| modified <= since);
        }
        // With `If-None-Match`, the date is ignored (§13.1.3).
        matches_etag(&self.none_match, headers)
    }
}

/// Whether `If-None-Match` matches the `ETag` of a response by weak comparison (RFC 9110 §13.1.2).
pub(crate) fn matches_etag(none_match: &[HeaderValue], headers: &HeaderMap) -> bool {
    let lines: Vec<&[u8]> = none_match.iter().map(HeaderValue::as_bytes).collect();
    if let [b"*"] = lines[..] {
        return true;
    }
    let list = lines.join(&b',');
    let ours = headers.get(header::ETAG).map(HeaderValue::as_bytes);
    ours.and_then(|ours| opaque_tags(ours).next())
        .is_some_and(|ours| opaque_tags(&list).any(|theirs| theirs == ours))
}

/// The opaque tags of a list of entity tags (§8.8.3), up to the first malformed member. A tag may contain commas, and
/// a backslash does not escape.
fn opaque_tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', rest @ ..] = list {
            list = rest;
        }
        let tag = list.strip_prefix(b"W/").unwrap_or(list);
        let end = tag.strip_prefix(b"\"")?.iter().position(|b| *b == b'"')?;
        let (tag, rest) = tag.split_at(end + 2);
        list = rest;
        matches!(rest, [] | [b' ' | b'\t' | b',', ..]).then_some(tag)
    })
}

fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sent: &[(&'static str, &'static str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let conditions = Conditions::extract(&mut headers);
        assert!(headers.is_empty());
        let response = Response::builder()
            .header("etag", "W/\"b\"")
            .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("content-length", "9")
            .body(Body::from("some text"));
        let response = conditions.apply(response.unwrap());
        let has_length = response.headers().contains_key("content-length");
        assert_eq!(has_length, response.status() == StatusCode::OK);
        response.status().as_u16()
    }

    #[test]
    fn a_matching_condition_gives_304() {
        for (sent, expected) in [
            (&[][..], 200),
            (&[("if-none-match", "\"a\", \"b\"")], 304),
            (
                &[("if-none-match", "\"a\""), ("if-none-match", "W/\"b\"")],
                304,
            ),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"a\"")], 200),
            (
                &[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")],
                304,
            ),
            (
                &[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
                200,
            ),
            (
                &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")],
                304,
            ),
            (&[("if-modified-since", "Sun Nov  6 08:49:37 1994")], 304),
            (
                &[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 +0100")],
                200,
            ),
            (&[("if-modified-since", "yesterday")], 200),
            (&[("if-modified-since", "784111777")], 200),
            (
                &[
                    ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ],
                200,
            ),
            // `If-None-Match` wins over the date.
            (
                &[
                    ("if-none-match", "\"a\""),
                    ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ],
                200,
            ),
        ] {
            assert_eq!(status(sent), expected, "{sent:?}");
        }
    }

    #[test]
    fn entity_tags_are_compared_by_their_grammar() {
        for (sent, etag, matches) in [
            (&["\"a\""][..], "\"a\"", true),
            (&["\"a\""], "W/\"a\"", true),
            (&["W/\"a\""], "\"a\"", true),
            (&["\"b\",\"a\""], "\"a\"", true),
            (&[",, \"b\" ,\t\"a\","], "\"a\"", true),
            (&["\"b\"", "\"a\""], "\"a\"", true),
            (&["\"a,b\""], "\"a,b\"", true),
            (&["\"x, \", \"a\""], "\"a\"", true),
            (&["\"x\\\", \"a\""], "\"a\"", true),
            (&["\"\""], "\"\"", true),
            (&["\"ü\""], "\"ü\"", true),
            (&["*"], "\"a\"", true),
            (&["\"A\""], "\"a\"", false),
            (&["\"a,b\""], "\"a\"", false),
            (&["a"], "\"a\"", false),
            (&["w/\"a\""], "\"a\"", false),
            (&["W/W/\"a\""], "\"a\"", false),
            (&["\"a\"b"], "\"a\"", false),
            (&["\"a"], "\"a\"", false),
            (&["\"b\", *"], "\"a\"", false),
            (&[""], "\"a\"", false),
            (&["a"], "a", false),
        ] {
            let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(header::ETAG, value(&etag))]);
            let sent: Vec<HeaderValue> = sent.iter().map(value).collect();
            assert_eq!(matches_etag(&sent, &headers), matches, "{sent:?} {etag}");
        }
    }
}
