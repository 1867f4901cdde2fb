//! Access tokens and ID tokens: claims and signatures.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keys::{Algorithm, decode_base64url, encode_base64url};
use super::state::State;
use crate::response::to_bytes;
use crate::users::{self, User};

/// The lifetime of an access token.
pub(super) const ACCESS_TTL: Duration = Duration::from_secs(3600);
const AUDIENCE: &str = "bff";
/// The audience of ID tokens: the client that signs users in (OpenID Connect Core §2).
const ID_TOKEN_AUDIENCE: &str = "web-bff";

/// The subject of a token.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) sub: String,
    pub(super) profile: &'static str,
    pub(super) name: String,
    pub(super) roles: [&'static str; 1],
    pub(super) region: &'static str,
    pub(super) maturity: &'static str,
    pub(super) scope: String,
}

impl Subject {
    pub(super) fn of(user: &User) -> Self {
        let scope = if user.role == "ADMIN" {
            "openid profile shop admin"
        } else {
            "openid profile shop"
        };
        Self {
            sub: user.id.clone(),
            profile: if user.id == "kim" { "kids" } else { "main" },
            name: user.name.clone(),
            roles: [user.role],
            region: user.region,
            maturity: user.maturity,
            scope: scope.to_owned(),
        }
    }

    /// A client that acts on its own behalf.
    pub(super) fn client(id: &str, scope: String) -> Self {
        let (sub, name) = (id.to_owned(), id.to_owned());
        Self {
            sub,
            profile: "main",
            name,
            roles: ["service"],
            region: "DE",
            maturity: "adult",
            scope,
        }
    }
}

#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    aud: &'static str,
    sub: &'a str,
    profile: &'static str,
    name: &'a str,
    roles: [&'static str; 1],
    region: &'static str,
    maturity: &'static str,
    scope: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

#[derive(Serialize)]
struct IdClaims<'a> {
    iss: &'a str,
    aud: &'static str,
    sub: &'a str,
    name: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alg: Algorithm,
    typ: &'a str,
    kid: String,
}

#[derive(Deserialize)]
struct VerifiedClaims {
    iss: String,
    sub: String,
    exp: i64,
}

/// An access token for an existing user, the same as after a login.
pub(crate) fn token_for(state: &State, user: &str) -> Option<String> {
    let subject = Subject::of(&users::find(user)?);
    access(state, &subject, state.signing().algorithm(), ACCESS_TTL)
}

/// An access token for any subject. An unknown subject is an adult customer in DE.
pub(crate) fn mint(state: &State, sub: &str, ttl: Duration) -> String {
    let subject = users::find(sub).map(|user| Subject::of(&user));
    let subject = subject.unwrap_or_else(|| Subject {
        roles: ["customer"],
        ..Subject::client(sub, "openid profile shop".to_owned())
    });
    // The token is empty only if key generation fails.
    access(state, &subject, state.signing().algorithm(), ttl).unwrap_or_default()
}

pub(super) fn access(
    state: &State,
    subject: &Subject,
    alg: Algorithm,
    ttl: Duration,
) -> Option<String> {
    let iat = state.clock.now().unix();
    let claims = AccessClaims {
        iss: &state.issuer,
        aud: AUDIENCE,
        sub: &subject.sub,
        profile: subject.profile,
        name: &subject.name,
        roles: subject.roles,
        region: subject.region,
        maturity: subject.maturity,
        scope: &subject.scope,
        iat,
        exp: iat + i64::try_from(ttl.as_secs()).unwrap_or(0),
        jti: state.rng.id("jti", state.ordinal()),
    };
    sign(state, alg, "at+jwt", &claims)
}

pub(super) fn identity(state: &State, subject: &Subject, alg: Algorithm) -> Option<String> {
    let iat = state.clock.now().unix();
    let exp = iat + i64::try_from(ACCESS_TTL.as_secs()).unwrap_or(0);
    let claims = IdClaims {
        iss: &state.issuer,
        aud: ID_TOKEN_AUDIENCE,
        sub: &subject.sub,
        name: &subject.name,
        iat,
        exp,
    };
    sign(state, alg, "JWT", &claims)
}

/// The subject of an access token; `None` if it is invalid or expired.
pub(super) fn verify(state: &State, token: &str) -> Option<String> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let (header, payload, signature) = (
        decode_base64url(header)?,
        decode_base64url(payload)?,
        decode_base64url(signature)?,
    );
    let header: Header<'_> = serde_json::from_slice(&header).ok()?;
    let published = state.published();
    let generation = published
        .into_iter()
        .find(|g| g.kid(header.alg) == header.kid)?;
    let signed =
        header.typ == "at+jwt" && generation.verify(header.alg, message.as_bytes(), &signature);
    let claims: VerifiedClaims = serde_json::from_slice(&payload).ok().filter(|_| signed)?;
    let valid = claims.iss == state.issuer && state.clock.now().unix() < claims.exp;
    valid.then_some(claims.sub)
}

fn sign(state: &State, alg: Algorithm, typ: &str, claims: &impl Serialize) -> Option<String> {
    let generation = state.signing();
    let header = Header {
        alg,
        typ,
        kid: generation.kid(alg),
    };
    let message = format!(
        "{}.{}",
        encode_base64url(&to_bytes(&header)),
        encode_base64url(&to_bytes(claims))
    );
    let signature = generation.sign(alg, message.as_bytes())?;
    Some(format!("{message}.{}", encode_base64url(&signature)))
}
