//! Access and ID tokens: what they say, and who says so.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ACCESS_TTL;
use super::keys::{Algorithm, bytes, text};
use crate::response::to_bytes;
use crate::users::{self, Person};
use crate::world::MockState;

const AUDIENCE: &str = "bff";
/// For whom ID tokens are: the client that asks people to sign in (OpenID Connect Core §2).
const CLIENT: &str = "web-bff";

/// Whom a token is about.
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
    pub(super) fn of(person: &Person) -> Self {
        let scope = if person.role == "ADMIN" {
            "openid profile shop admin"
        } else {
            "openid profile shop"
        };
        Self {
            sub: person.id.clone(),
            profile: if person.id == "kim" { "kids" } else { "main" },
            name: person.name.clone(),
            roles: [person.role],
            region: person.region,
            maturity: person.maturity,
            scope: scope.to_owned(),
        }
    }

    /// A machine that speaks for itself.
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
struct Access<'a> {
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
struct Identity<'a> {
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
struct Checked {
    iss: String,
    sub: String,
    exp: i64,
}

/// An access token for a user that exists, as a login would give it.
pub(crate) fn token_for(world: &MockState, user: &str) -> Option<String> {
    let subject = Subject::of(&users::find(user)?);
    access(
        world,
        &subject,
        world.auth.signing().algorithm(),
        ACCESS_TTL,
    )
}

/// An access token for any subject; one that is not known is a grown-up customer in DE.
pub(crate) fn mint(world: &MockState, sub: &str, ttl: Duration) -> String {
    let known = users::find(sub).map(|person| Subject::of(&person));
    let subject = known.unwrap_or_else(|| Subject {
        roles: ["customer"],
        ..Subject::client(sub, "openid profile shop".to_owned())
    });
    // Only a machine that cannot make keys gives the empty text.
    access(world, &subject, world.auth.signing().algorithm(), ttl).unwrap_or_default()
}

pub(super) fn access(
    world: &MockState,
    of: &Subject,
    alg: Algorithm,
    ttl: Duration,
) -> Option<String> {
    let iat = world.clock.now().unix();
    let claims = Access {
        iss: &world.issuer,
        aud: AUDIENCE,
        sub: &of.sub,
        profile: of.profile,
        name: &of.name,
        roles: of.roles,
        region: of.region,
        maturity: of.maturity,
        scope: &of.scope,
        iat,
        exp: iat + i64::try_from(ttl.as_secs()).unwrap_or(0),
        jti: world.draw.id("jti", world.auth.ordinal()),
    };
    signed(world, alg, "at+jwt", &claims)
}

pub(super) fn identity(world: &MockState, of: &Subject, alg: Algorithm) -> Option<String> {
    let iat = world.clock.now().unix();
    let exp = iat + i64::try_from(ACCESS_TTL.as_secs()).unwrap_or(0);
    let claims = Identity {
        iss: &world.issuer,
        aud: CLIENT,
        sub: &of.sub,
        name: &of.name,
        iat,
        exp,
    };
    signed(world, alg, "JWT", &claims)
}

/// The subject of an access token, if it is ours and has not expired.
pub(super) fn verify(world: &MockState, token: &str) -> Option<String> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let (header, payload, signature) = (bytes(header)?, bytes(payload)?, bytes(signature)?);
    let header: Header<'_> = serde_json::from_slice(&header).ok()?;
    let published = world.auth.published();
    let generation = published
        .into_iter()
        .find(|g| g.kid(header.alg) == header.kid)?;
    let sound =
        header.typ == "at+jwt" && generation.verifies(header.alg, message.as_bytes(), &signature);
    let claims: Checked = serde_json::from_slice(&payload).ok().filter(|_| sound)?;
    let valid = claims.iss == world.issuer && world.clock.now().unix() < claims.exp;
    valid.then_some(claims.sub)
}

fn signed(world: &MockState, alg: Algorithm, typ: &str, claims: &impl Serialize) -> Option<String> {
    let generation = world.auth.signing();
    let header = Header {
        alg,
        typ,
        kid: generation.kid(alg),
    };
    let message = format!("{}.{}", text(&to_bytes(&header)), text(&to_bytes(claims)));
    let signature = generation.sign(alg, message.as_bytes())?;
    Some(format!("{message}.{}", text(&signature)))
}
