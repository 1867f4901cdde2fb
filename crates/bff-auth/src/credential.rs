//! Where a credential stands in a request. Never in the address: addresses are logged (RFC 9700 §4.3.2).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::AuthError;

/// The header of an API key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A credential as it was sent, not yet believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// `Authorization: Bearer <token>` (RFC 6750 §2.1).
    Bearer(&'a [u8]),
    /// `X-API-Key: <key>`.
    ApiKey(&'a [u8]),
}

/// The one credential of a request. Two are refused: which of them counts must not be a guess.
pub(super) fn find(headers: &HeaderMap) -> Result<Option<Credential<'_>>, AuthError> {
    let mut bearers = headers.get_all(header::AUTHORIZATION).iter();
    let mut keys = headers.get_all(X_API_KEY).iter();
    match (bearers.next(), keys.next()) {
        (None, None) => Ok(None),
        (Some(value), None) if bearers.next().is_none() => bearer(value).map(Some),
        (None, Some(key)) if keys.next().is_none() => Ok(Some(Credential::ApiKey(key.as_bytes()))),
        _ => Err(AuthError::Several),
    }
}

/// The scheme's name has no case (RFC 9110 §11.1); one or more spaces end it.
fn bearer(value: &HeaderValue) -> Result<Credential<'_>, AuthError> {
    let value = value.as_bytes();
    let (scheme, token) = value
        .iter()
        .position(|b| *b == b' ')
        .and_then(|at| value.split_at_checked(at))
        .ok_or(AuthError::Scheme)?;
    let token = token.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"bearer") || token.is_empty() {
        return Err(AuthError::Scheme);
    }
    Ok(Credential::Bearer(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(sent: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn both_places_are_read_and_nothing_else_is() {
        let sent = headers(&[(header::AUTHORIZATION, "bEARER  a.b.c")]);
        assert_eq!(find(&sent), Ok(Some(Credential::Bearer(b"a.b.c"))));
        let sent = headers(&[(X_API_KEY, "k")]);
        assert_eq!(find(&sent), Ok(Some(Credential::ApiKey(b"k"))));
        let sent = headers(&[(header::COOKIE, "token=a.b.c")]);
        assert_eq!(find(&sent), Ok(None));
    }

    #[test]
    fn another_scheme_is_a_bad_credential() {
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "a.b.c",
            "Bearera.b.c",
        ] {
            let sent = headers(&[(header::AUTHORIZATION, bad)]);
            assert_eq!(find(&sent), Err(AuthError::Scheme), "{bad:?}");
        }
    }

    #[test]
    fn two_credentials_are_one_too_many() {
        let bearer = (header::AUTHORIZATION, "Bearer a.b.c");
        let key = (X_API_KEY, "k");
        for sent in [
            [bearer.clone(), bearer.clone()],
            [key.clone(), key.clone()],
            [bearer, key],
        ] {
            assert_eq!(find(&headers(&sent)), Err(AuthError::Several));
        }
    }
}
