//! `X-Request-ID`: the client's if it is valid, else a new one.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use bff_runtime::net::Env;

/// The header, from clients and to backends.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id if it sent exactly one valid id, else a new one.
    pub fn accept(headers: &HeaderMap, env: &Env) -> Self {
        let mut values = headers.get_all(X_REQUEST_ID).iter();
        match (values.next(), values.next()) {
            (Some(id), None) if is_valid(id.as_bytes()) => Self(id.clone()),
            _ => Self::generate(env),
        }
    }

    /// A new id: a UUIDv7.
    pub fn generate(env: &Env) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = env.uuid().hyphenated().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header value.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(values: &[&'static str]) -> RequestId {
        let mut headers = HeaderMap::new();
        for id in values {
            headers.append(X_REQUEST_ID, HeaderValue::from_static(id));
        }
        RequestId::accept(&headers, &Env::real())
    }

    #[test]
    fn a_valid_id_is_accepted_and_any_other_is_replaced() {
        assert_eq!(accepted(&["abc-1"]).as_str(), "abc-1");
        for values in [&[][..], &[""], &["a b"], &["a", "b"]] {
            assert_eq!(accepted(values).as_str().len(), 36, "{values:?}");
        }
        let long: &'static str = "x".repeat(129).leak();
        assert_eq!(accepted(&[long]).as_str().len(), 36);
    }
}
