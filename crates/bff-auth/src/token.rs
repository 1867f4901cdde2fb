//! Parses a bearer token: a JSON Web Signature in compact serialization (RFC 7515 §7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::AuthError;
use super::jwks::Algorithm;
use super::jwks::key_set::Key;

/// Maximum size of a token, in bytes: ten times the usual size.
const MAX_TOKEN: usize = 8 << 10;
/// Maximum length of a key id, in bytes.
const MAX_KID: usize = 128;

/// A token with a parsed header. Its claims are available after [`Token::verify`].
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// The header `alg`.
    pub(super) algorithm: Algorithm,
    /// The header `typ`; empty if it is missing.
    typ: String,
    /// The header `kid`. It is required: otherwise one request could cause a verification with each of the issuer's
    /// keys.
    pub(super) kid: String,
    /// The signed text: header, dot and payload.
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// The header. Keys in it (`jwk`) and URLs of keys (`jku`, `x5u`) are deliberately ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Parses a token whose algorithm is one of `allowed`.
    pub(super) fn parse(token: &'a [u8], allowed: &[Algorithm]) -> Result<Self, AuthError> {
        let malformed = AuthError::MalformedToken;
        if token.len() > MAX_TOKEN {
            return Err(malformed("it is over 8192 bytes"));
        }
        let text = std::str::from_utf8(token).map_err(|_| malformed("it is not ASCII"))?;
        let shape = || malformed("it is not three parts between dots");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(shape)?;
        let (header, payload) = signed.split_once('.').ok_or_else(shape)?;
        if payload.contains('.') {
            return Err(shape());
        }
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_| malformed("its header is not base64url"))?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| malformed("its header does not decode"))?;
        // A critical extension that is not supported must be rejected; we support none (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(malformed("its header has crit"));
        }
        let kid = header.kid.ok_or(malformed("its header has no kid"))?;
        if kid.len() > MAX_KID {
            return Err(malformed("its kid is over 128 bytes"));
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            _ => return Err(AuthError::Algorithm),
        };
        if !allowed.contains(&algorithm) {
            return Err(AuthError::Algorithm);
        }
        Ok(Self {
            algorithm,
            typ: header.typ.unwrap_or_default(),
            kid,
            signed,
            payload,
            signature,
        })
    }

    /// Checks the header `typ`: a media type that may omit `application/` (RFC 7515 §4.1.9).
    pub(super) fn check_type(&self, expected: &str) -> Result<(), AuthError> {
        let normalize = |typ: &str| {
            let typ = typ.to_ascii_lowercase();
            typ.strip_prefix("application/")
                .map(str::to_owned)
                .unwrap_or(typ)
        };
        if normalize(&self.typ) == normalize(expected) {
            Ok(())
        } else {
            Err(AuthError::TokenType)
        }
    }

    /// Verifies the signature with `key` and returns the claims. It does not check times: jsonwebtoken's check would
    /// read the system clock.
    pub(super) fn verify(&self, key: &Key) -> Result<Map<String, Value>, AuthError> {
        let algorithm = match key.algorithm() {
            key_algorithm if key_algorithm != self.algorithm => {
                return Err(AuthError::KeyAlgorithm(self.kid.as_str().into()));
            }
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        };
        let message = self.signed.as_bytes();
        let is_valid =
            jsonwebtoken::crypto::verify(self.signature, message, key.decoding(), algorithm);
        if !matches!(is_valid, Ok(true)) {
            return Err(AuthError::Signature);
        }
        let payload = URL_SAFE_NO_PAD
            .decode(self.payload)
            .map_err(|_| AuthError::MalformedToken("its payload is not base64url"))?;
        serde_json::from_slice(&payload)
            .map_err(|_| AuthError::MalformedToken("its payload is not a JSON object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: &[Algorithm] = &[Algorithm::RS256, Algorithm::ES256];

    fn parse(header: &str, allowed: &[Algorithm]) -> Result<String, AuthError> {
        let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
        Token::parse(token.as_bytes(), allowed).map(|t| t.kid)
    }

    #[test]
    fn only_alg_and_kid_of_the_header_select_the_key() {
        let header = r#"{"alg":"RS256","kid":"k","jwk":{"kty":"oct"},"jku":"http://x"}"#;
        assert_eq!(parse(header, ALL), Ok("k".into()));
        assert_eq!(
            parse(header, &[Algorithm::ES256]),
            Err(AuthError::Algorithm)
        );
        for alg in ["none", "None", "HS256", "RS512", "rs256", ""] {
            let header = format!(r#"{{"alg":"{alg}","kid":"k"}}"#);
            assert_eq!(parse(&header, ALL), Err(AuthError::Algorithm), "{alg}");
        }
    }

    #[test]
    fn a_malformed_token_is_rejected_before_a_fetch_of_keys() {
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(129));
        for header in [
            "",
            "[]",
            r#"{"kid":"k"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"RS256","kid":7}"#,
            r#"{"alg":"RS256","kid":"k","crit":["exp"]}"#,
            r#"{"alg":"none","alg":"RS256","kid":"k"}"#,
            &long,
        ] {
            let result = parse(header, ALL);
            assert!(
                matches!(result, Err(AuthError::MalformedToken(_))),
                "{header}"
            );
        }
        let huge = "a".repeat(MAX_TOKEN + 1);
        for token in [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c.d",
            "!.e30.AA",
            "ü.e30.AA",
            &huge,
        ] {
            let result = Token::parse(token.as_bytes(), ALL);
            assert!(
                matches!(result, Err(AuthError::MalformedToken(_))),
                "{token}"
            );
        }
    }

    #[test]
    fn the_header_typ_is_checked() {
        let check_type = |typ: &str, expected: &str| {
            let header = format!(r#"{{"alg":"RS256","kid":"k"{typ}}}"#);
            let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
            let token = Token::parse(token.as_bytes(), ALL);
            token.and_then(|t| t.check_type(expected))
        };
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
            let typ = format!(r#","typ":"{typ}""#);
            assert_eq!(check_type(&typ, "at+jwt"), Ok(()), "{typ}");
            assert_eq!(check_type(&typ, "JWT"), Err(AuthError::TokenType), "{typ}");
        }
        for typ in [
            "",
            r#","typ":null"#,
            r#","typ":"""#,
            r#","typ":"JWT""#,
            r#","typ":"at""#,
        ] {
            assert_eq!(
                check_type(typ, "at+jwt"),
                Err(AuthError::TokenType),
                "{typ}"
            );
        }
        assert_eq!(check_type(r#","typ":"jwt""#, "JWT"), Ok(()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(token: Vec<u8>, header in "\\PC*") {
            let _ = Token::parse(&token, ALL);
            let _ = parse(&header, ALL);
        }
    }
}
