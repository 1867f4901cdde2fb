//! The old format, `X-API-Version: v1`: `snake_case` outside, `camelCase` at the backend.
//!
//! Only what is JSON is translated, and so read as a whole, within the limits of the route and of the backend.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::case_conversion;
use super::headers;
use crate::error::{Error, codes};

const X_API_VERSION: HeaderName = HeaderName::from_static("x-api-version");

/// Which format a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiVersion {
    /// v1.
    V1,
    /// v2, and whoever does not say.
    Latest,
}

impl ApiVersion {
    /// What the client says, which is for the gateway and goes no further.
    pub(super) fn extract(headers: &mut HeaderMap) -> Result<Self, Error> {
        let mut sent = headers.get_all(X_API_VERSION).iter();
        let format = match (sent.next().map(HeaderValue::as_bytes), sent.next()) {
            (None | Some(b"v2"), None) => Self::Latest,
            (Some(b"v1"), None) => Self::V1,
            _ => {
                let detail = "X-API-Version is v1 or v2, or absent for the latest.";
                return Err(Error::new(codes::INVALID_REQUEST, detail));
            }
        };
        headers.remove(X_API_VERSION);
        Ok(format)
    }
}

/// Asks for an answer that can be translated: whole, and in no encoding.
pub(super) fn request_identity_encoding(headers: &mut HeaderMap) {
    headers.remove(header::ACCEPT_ENCODING);
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
}

/// Whether the body is JSON (RFC 8259), by its media type (RFC 6839 §3.1 for the suffix).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|t| t.to_str().ok());
    let essence = media
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || essence.starts_with("application/") && essence.ends_with("+json")
}

/// A client's body as the backend reads it.
pub(super) fn request(body: &[u8]) -> Result<Vec<u8>, Error> {
    (case_conversion::json(body, case_conversion::to_camel))
        .map_err(|_| Error::new(codes::INVALID_REQUEST, "The body is not JSON."))
}

/// A client's query as the backend reads it.
pub(super) fn query(text: &str) -> String {
    case_conversion::query(text, case_conversion::to_camel)
}

/// A backend's body as the client reads it.
pub(super) fn answer(body: &[u8]) -> Result<Vec<u8>, Error> {
    (case_conversion::json(body, case_conversion::to_snake)).map_err(|error| {
        Error::new(codes::BAD_RESPONSE, codes::BAD_RESPONSE.meaning())
            .with_cause(format_args!("its JSON cannot be translated: {error}"))
    })
}

/// What every answer of such an address says: it depends on the version.
pub(super) fn vary(headers: &mut HeaderMap) {
    headers::append(headers, header::VARY, X_API_VERSION.as_str().as_bytes());
}

/// What no longer holds of a translated answer: its length and digests. Its tag is weak, for the bytes are others.
pub(super) fn fix_representation_headers(headers: &mut HeaderMap) {
    for name in [
        "content-length",
        "content-encoding",
        "content-md5",
        "digest",
        "content-digest",
        "repr-digest",
        "accept-ranges",
    ] {
        headers.remove(name);
    }
    // The backend still knows it when it comes back in `If-None-Match` (RFC 9110 §13.1.2 compares weakly).
    if let Some(tag) = headers
        .get(header::ETAG)
        .filter(|tag| !tag.as_bytes().starts_with(b"W/"))
    {
        let weak = [b"W/", tag.as_bytes()].concat();
        if let Ok(weak) = HeaderValue::from_bytes(&weak) {
            headers.insert(header::ETAG, weak);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(sent: &[&'static str]) -> Result<ApiVersion, u16> {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(X_API_VERSION, HeaderValue::from_static(value));
        }
        let format = ApiVersion::extract(&mut headers).map_err(|e| e.status().as_u16());
        assert!(format.is_err() || headers.is_empty());
        format
    }

    #[test]
    fn a_version_is_known_or_refused() {
        assert_eq!(format(&[]), Ok(ApiVersion::Latest));
        assert_eq!(format(&["v2"]), Ok(ApiVersion::Latest));
        assert_eq!(format(&["v1"]), Ok(ApiVersion::V1));
        for bad in [&["v3"][..], &["1"], &[""], &["v1", "v1"]] {
            assert_eq!(format(bad), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn json_is_told_by_its_media_type() {
        for (media, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("application/x-ndjson", false),
            ("text/event-stream", false),
            ("text/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
            assert_eq!(is_json(&headers), json, "{media}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
