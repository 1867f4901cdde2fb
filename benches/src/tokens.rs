//! The issuer of the benchmark: one generated RS256 key, its JWKS, and one token for each user in the format of the mocked
//! issuer.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::Result;

/// The issuer of the tokens. It is only a name.
pub(crate) const ISSUER: &str = "https://issuer.bench";
/// The audience of the tokens.
pub(crate) const AUDIENCE: &str = "bff";

const KID: &str = "bench-1";
/// The lifetime of a token, longer than any run.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Signs tokens.
pub(crate) struct Issuer {
    key: KeyPair,
}

impl Issuer {
    /// Creates an issuer with a new 2048-bit key.
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048)?;
        Ok(Self { key })
    }

    /// The public key as a JWK set (RFC 7517 §5).
    pub(crate) fn jwks(&self) -> Result<String> {
        // PKCS #1 with 2048 bits: a header, 256 bytes of n, then 02 03 and three bytes of e.
        let der = self.key.public_key().as_ref();
        let parts = der.split_last_chunk::<3>().and_then(|(rest, e)| {
            let n = rest.strip_suffix(&[2, 3])?.last_chunk::<256>()?;
            Some((encode_base64url(n), encode_base64url(e)))
        });
        let (n, e) = parts.ok_or("the key does not have 2048 bits and an exponent of 3 bytes")?;
        let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID, "n": n, "e": e});
        Ok(json!({ "keys": [key] }).to_string())
    }

    /// The `Authorization` values of these users. All cores sign them.
    pub(crate) fn tokens(&self, users: &[String]) -> Result<Vec<HeaderValue>> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let share = users.len().div_ceil(cores).max(1);
        let signed: Vec<Result<Vec<HeaderValue>>> = std::thread::scope(|scope| {
            let sign = |part: &[String]| part.iter().map(|user| self.token(user)).collect();
            let threads: Vec<_> = users
                .chunks(share)
                .map(|part| scope.spawn(move || sign(part)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                let ended = thread.join();
                ended.unwrap_or_else(|_| Err("a signing thread panicked".into()))
            };
            threads.into_iter().map(join).collect()
        });
        let mut all = Vec::with_capacity(users.len());
        for part in signed {
            all.extend(part?);
        }
        Ok(all)
    }

    fn token(&self, user: &str) -> Result<HeaderValue> {
        let now = now()?;
        let claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "profile": "adult",
            "name": "Ada Novak",
            "roles": ["customer"],
            "region": "DE",
            "maturity": "adult",
            "scope": "openid profile shop",
            "iat": now.as_secs(),
            "exp": (now + LIFETIME).as_secs(),
            "jti": format!("bench-{user}"),
        });
        let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": KID});
        let message = format!("{}.{}", encode_json(&header), encode_json(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message.as_bytes(),
            &mut signature,
        )?;
        let bearer = format!("Bearer {message}.{}", encode_base64url(&signature));
        Ok(HeaderValue::from_str(&bearer)?)
    }
}

fn now() -> Result<Duration> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the gateway verifies tokens with the system clock"
    )]
    let now = SystemTime::now();
    Ok(now.duration_since(UNIX_EPOCH)?)
}

fn encode_json(json: &Value) -> String {
    encode_base64url(json.to_string().as_bytes())
}

/// Encodes base64url without padding, the encoding of all parts of a token.
fn encode_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
