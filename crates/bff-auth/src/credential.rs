//! Finds the credential in the headers of a request. It is never read from the URL, because logs contain
//! URLs (RFC 9700 §4.3.2).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::AuthError;

/// The request header for an API key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A credential that is not yet verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// `Authorization: Bearer <token>` (RFC 6750 §2.1).
    Bearer(&'a [u8]),
    /// `X-API-Key: <key>`.
    ApiKey(&'a [u8]),
}

/// The credential of a request. Two credentials are an error, because it is not clear which one applies.
pub(super) fn find(headers: &HeaderMap) -> Result<Option<Credential<'_>>, AuthError> {
    let mut bearers = headers.get_all(header::AUTHORIZATION).iter();
    let mut keys = headers.get_all(X_API_KEY).iter();
    match (bearers.next(), keys.next()) {
        (None, None) => Ok(None),
        (Some(value), None) if bearers.next().is_none() => parse_bearer(value).map(Some),
        (None, Some(key)) if keys.next().is_none() => Ok(Some(Credential::ApiKey(key.as_bytes()))),
        _ => Err(AuthError::MultipleCredentials),
    }
}

/// Parses `Authorization`. The scheme is case-insensitive (RFC 9110 §11.1), and one or more spaces follow it.
fn parse_bearer(value: &HeaderValue) -> Result<Credential<'_>, AuthError> {
    let value = value.as_bytes();
    let (scheme, token) = value
        .iter()
        .position(|b| *b == b' ')
        .and_then(|at| value.split_at_checked(at))
        .ok_or(AuthError::InvalidScheme)?;
    let token = token.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"bearer") || token.is_empty() {
        return Err(AuthError::InvalidScheme);
    }
    Ok(Credential::Bearer(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_map(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_two_headers_are_read() {
        let headers = header_map(&[(header::AUTHORIZATION, "bEARER  a.b.c")]);
        assert_eq!(find(&headers), Ok(Some(Credential::Bearer(b"a.b.c"))));
        let headers = header_map(&[(X_API_KEY, "k")]);
        assert_eq!(find(&headers), Ok(Some(Credential::ApiKey(b"k"))));
        let headers = header_map(&[(header::COOKIE, "token=a.b.c")]);
        assert_eq!(find(&headers), Ok(None));
    }

    #[test]
    fn another_scheme_is_an_invalid_credential() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "a.b.c",
            "Bearera.b.c",
        ] {
            let headers = header_map(&[(header::AUTHORIZATION, value)]);
            assert_eq!(find(&headers), Err(AuthError::InvalidScheme), "{value:?}");
        }
    }

    #[test]
    fn two_credentials_are_an_error() {
        let bearer = (header::AUTHORIZATION, "Bearer a.b.c");
        let key = (X_API_KEY, "k");
        for fields in [
            [bearer.clone(), bearer.clone()],
            [key.clone(), key.clone()],
            [bearer, key],
        ] {
            assert_eq!(
                find(&header_map(&fields)),
                Err(AuthError::MultipleCredentials)
            );
        }
    }
}
