//! A bearer token as it was sent: a JSON Web Signature in compact form (RFC 7515 §7.1), taken apart, not believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::AuthError;
use super::jwks::Algorithm;
use super::jwks::key_set::Key;

/// The largest token that is looked at, in bytes: ten times what issuers sign.
const MAX_TOKEN: usize = 8 << 10;
/// The longest key id that is looked up, in bytes.
const MAX_KID: usize = 128;

/// A token whose header has been read and whose claims nobody may read yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// The algorithm the token asks for.
    pub(super) algorithm: Algorithm,
    /// What the token says it is; empty when it does not say.
    kind: String,
    /// The key the token says it is signed with. A token that names none is refused: trying every key would let
    /// each request cost as many verifications as the issuer has keys.
    pub(super) kid: String,
    /// Header, dot and payload as they were signed.
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// What is read of the header. Keys that it carries or points to (`jwk`, `jku`, `x5u`) are deliberately ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Takes `sent` apart, if it asks for one of `allowed`.
    pub(super) fn parse(sent: &'a [u8], allowed: &[Algorithm]) -> Result<Self, AuthError> {
        let malformed = AuthError::Malformed;
        if sent.len() > MAX_TOKEN {
            return Err(malformed("it is over 8192 bytes"));
        }
        let text = std::str::from_utf8(sent).map_err(|_| malformed("it is not ASCII"))?;
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
        // An extension we do not know must be understood or refused, and we know none (RFC 7515 §4.1.11).
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
            kind: header.typ.unwrap_or_default(),
            kid,
            signed,
            payload,
            signature,
        })
    }

    /// Refuses a token that is not of `kind`: a media type, whose `application/` may be left out (RFC 7515 §4.1.9).
    pub(super) fn is_a(&self, kind: &str) -> Result<(), AuthError> {
        let bare = |kind: &str| {
            let kind = kind.to_ascii_lowercase();
            kind.strip_prefix("application/")
                .map(str::to_owned)
                .unwrap_or(kind)
        };
        if bare(&self.kind) == bare(kind) {
            Ok(())
        } else {
            Err(AuthError::Type)
        }
    }

    /// The claims, once `key` has verified the signature over them. Times are not looked at here: the library's own
    /// check would read the machine's clock.
    pub(super) fn verify(&self, key: &Key) -> Result<Map<String, Value>, AuthError> {
        let algorithm = match key.algorithm() {
            mine if mine != self.algorithm => {
                return Err(AuthError::AlgorithmOfKey(self.kid.as_str().into()));
            }
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        };
        let message = self.signed.as_bytes();
        let verified =
            jsonwebtoken::crypto::verify(self.signature, message, key.decoding(), algorithm);
        if !matches!(verified, Ok(true)) {
            return Err(AuthError::Signature);
        }
        let payload = URL_SAFE_NO_PAD
            .decode(self.payload)
            .map_err(|_| AuthError::Malformed("its payload is not base64url"))?;
        serde_json::from_slice(&payload)
            .map_err(|_| AuthError::Malformed("its payload is not a JSON object"))
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
    fn the_header_decides_what_is_looked_up_and_nothing_more() {
        let good = r#"{"alg":"RS256","kid":"k","jwk":{"kty":"oct"},"jku":"http://x"}"#;
        assert_eq!(parse(good, ALL), Ok("k".into()));
        assert_eq!(parse(good, &[Algorithm::ES256]), Err(AuthError::Algorithm));
        for alg in ["none", "None", "HS256", "RS512", "rs256", ""] {
            let header = format!(r#"{{"alg":"{alg}","kid":"k"}}"#);
            assert_eq!(parse(&header, ALL), Err(AuthError::Algorithm), "{alg}");
        }
    }

    #[test]
    fn a_malformed_token_is_refused_before_any_key_is_fetched() {
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(129));
        for bad in [
            "",
            "[]",
            r#"{"kid":"k"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"RS256","kid":7}"#,
            r#"{"alg":"RS256","kid":"k","crit":["exp"]}"#,
            r#"{"alg":"none","alg":"RS256","kid":"k"}"#,
            &long,
        ] {
            let refused = parse(bad, ALL);
            assert!(matches!(refused, Err(AuthError::Malformed(_))), "{bad}");
        }
        let huge = "a".repeat(MAX_TOKEN + 1);
        for bad in [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c.d",
            "!.e30.AA",
            "ü.e30.AA",
            &huge,
        ] {
            let refused = Token::parse(bad.as_bytes(), ALL);
            assert!(matches!(refused, Err(AuthError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn a_token_is_what_its_typ_says() {
        let is_a = |typ: &str, kind: &str| {
            let header = format!(r#"{{"alg":"RS256","kid":"k"{typ}}}"#);
            let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
            let token = Token::parse(token.as_bytes(), ALL);
            token.and_then(|t| t.is_a(kind))
        };
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
            let typ = format!(r#","typ":"{typ}""#);
            assert_eq!(is_a(&typ, "at+jwt"), Ok(()), "{typ}");
            assert_eq!(is_a(&typ, "JWT"), Err(AuthError::Type), "{typ}");
        }
        for typ in [
            "",
            r#","typ":null"#,
            r#","typ":"""#,
            r#","typ":"JWT""#,
            r#","typ":"at""#,
        ] {
            assert_eq!(is_a(typ, "at+jwt"), Err(AuthError::Type), "{typ}");
        }
        assert_eq!(is_a(r#","typ":"jwt""#, "JWT"), Ok(()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(sent: Vec<u8>, header in "\\PC*") {
            let _ = Token::parse(&sent, ALL);
            let _ = parse(&header, ALL);
        }
    }
}
