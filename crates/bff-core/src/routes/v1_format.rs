//! The v1 format (`X-API-Version: v1`): `snake_case` for the client, `camelCase` at the backend.
//!
//! Only JSON is converted. Such a body is buffered as a whole, within the limits of the route and of the backend.

use bff_context::field_value;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::case_conversion;
use super::headers;
use crate::error::{Error, codes};

const X_API_VERSION: HeaderName = HeaderName::from_static("x-api-version");

/// The API version that a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiVersion {
    /// v1.
    V1,
    /// v2, and requests without the header.
    Latest,
}

impl ApiVersion {
    /// Reads and removes the header, which is for the gateway only.
    pub(super) fn extract(headers: &mut HeaderMap) -> Result<Self, Error> {
        let mut sent = headers.get_all(X_API_VERSION).iter();
        let version = match (sent.next().map(HeaderValue::as_bytes), sent.next()) {
            (None | Some(b"v2"), None) => Self::Latest,
            (Some(b"v1"), None) => Self::V1,
            _ => {
                let detail = "X-API-Version must be v1 or v2. Without it you get the latest.";
                return Err(Error::new(codes::INVALID_REQUEST, detail));
            }
        };
        headers.remove(X_API_VERSION);
        Ok(version)
    }
}

/// Changes the request so that the response can be converted: a full response without content encoding.
pub(super) fn request_identity_encoding(headers: &mut HeaderMap) {
    headers.remove(header::ACCEPT_ENCODING);
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
}

/// Whether the media type is JSON (RFC 8259), or has the suffix `+json` (RFC 6839 §3.1).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let essence = field_value::media_type(headers);
    essence == "application/json"
        || essence.starts_with("application/") && essence.ends_with("+json")
}

/// Converts a client's body for the backend.
pub(super) fn convert_request(body: &[u8]) -> Result<Vec<u8>, Error> {
    (case_conversion::json(body, case_conversion::to_camel))
        .map_err(|_| Error::new(codes::INVALID_REQUEST, "The body is not JSON."))
}

/// Converts a client's query for the backend.
pub(super) fn convert_query(text: &str) -> String {
    case_conversion::query(text, case_conversion::to_camel)
}

/// Converts a backend's body for the client. A body that is not JSON stays as it is, because its status must reach the
/// client. A byte order mark is ignored (RFC 8259 §8.1).
pub(super) fn convert_response(body: Bytes) -> Bytes {
    let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
    match case_conversion::json(json, case_conversion::to_snake) {
        Ok(converted) => converted.into(),
        Err(_) => body,
    }
}

/// Appends `X-API-Version` to `Vary`.
pub(super) fn append_vary(headers: &mut HeaderMap) {
    headers::append(headers, header::VARY, X_API_VERSION.as_str().as_bytes());
}

/// Removes the headers that a conversion invalidates, such as length and digests. Makes the `ETag` weak, because the
/// bytes differ.
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
    // The backend still recognizes the tag in `If-None-Match`, which compares weakly (RFC 9110 §13.1.2).
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

    fn version(sent: &[&'static str]) -> Result<ApiVersion, u16> {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(X_API_VERSION, HeaderValue::from_static(value));
        }
        let version = ApiVersion::extract(&mut headers).map_err(|e| e.status().as_u16());
        assert!(version.is_err() || headers.is_empty());
        version
    }

    #[test]
    fn an_unknown_version_is_rejected() {
        assert_eq!(version(&[]), Ok(ApiVersion::Latest));
        assert_eq!(version(&["v2"]), Ok(ApiVersion::Latest));
        assert_eq!(version(&["v1"]), Ok(ApiVersion::V1));
        for bad in [&["v3"][..], &["1"], &[""], &["v1", "v1"]] {
            assert_eq!(version(bad), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn json_is_recognized_by_its_media_type() {
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

    #[test]
    fn a_response_is_converted_if_it_is_json() {
        for (body, converted) in [
            (&br#"{"userId":1}"#[..], &br#"{"user_id":1}"#[..]),
            (b"\xef\xbb\xbf{\"userId\":1}", br#"{"user_id":1}"#),
            (br#"{"userId":"#, br#"{"userId":"#),
            (b"", b""),
        ] {
            assert_eq!(convert_response(Bytes::from_static(body)), converted);
        }
    }
}
