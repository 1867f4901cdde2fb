//! `POST /token`: one function for each grant. The authorization code (with PKCE) and the device code are
//! two more arms of the same match.
//!
//! - `grant_type=refresh_token&refresh_token=...` → a new pair. A refresh token serves once; using it again
//!   revokes the whole family it belongs to (RFC 9700 §4.14). Lasts 30 days
//! - `grant_type=client_credentials` with `client_id` and `client_secret`, in the form or as Basic → an access
//!   token alone. Demo clients: `web-bff`, `mobile-bff`, `tv-bff`, `partner-bff`, `demo-service`; secret
//!   `demo-secret`
//! - another grant: 400 `unsupported_grant_type`

use std::sync::Arc;

use axum::Form;
use axum::extract::State as Of;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::keys::Algorithm;
use super::tokens::{self, Subject};
use super::{ACCESS_TTL, users};
use crate::clock::Time;
use crate::response::{Answer, Problem, private};
use crate::world::MockState;

/// The grants that `POST /token` knows.
pub(super) const SUPPORTED: [&str; 2] = ["refresh_token", "client_credentials"];

const CLIENTS: [&str; 5] = [
    "web-bff",
    "mobile-bff",
    "tv-bff",
    "partner-bff",
    "demo-service",
];
const CLIENT_SECRET: &str = "demo-secret";
const REFRESH_DAYS: i64 = 30;

/// What is known of one refresh token.
pub(super) struct Refresh {
    user: String,
    /// The ordinal of the login it goes back to.
    family: u64,
    alg: Algorithm,
    expires: Time,
    spent: bool,
}

#[derive(Default, Deserialize)]
pub(super) struct TokenRequest {
    #[serde(default)]
    grant_type: String,
    refresh_token: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct Tokens {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    scope: String,
}

pub(super) async fn token(
    Of(world): Of<Arc<MockState>>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Answer {
    let Ok(Form(request)) = form else {
        return Ok(refused("invalid_request", "not a form"));
    };
    match request.grant_type.as_str() {
        "refresh_token" => refresh(&world, request.refresh_token.as_deref().unwrap_or_default()),
        "client_credentials" => client_credentials(&world, &headers, request),
        "" => Ok(refused("invalid_request", "grant_type is missing")),
        _ => Ok(refused(
            "unsupported_grant_type",
            "this grant is not served",
        )),
    }
}

/// A fresh pair of tokens; `family` continues the login that it names.
pub(super) fn session(
    world: &MockState,
    subject: &Subject,
    alg: Algorithm,
    family: Option<u64>,
) -> Answer {
    let access_token = tokens::access(world, subject, alg, ACCESS_TTL).ok_or_else(no_keys)?;
    let id_token = tokens::identity(world, subject, alg);
    let ordinal = world.auth.ordinal();
    let refresh_token = format!("rt_{}", world.draw.id("refresh", ordinal));
    let kept = Refresh {
        user: subject.sub.clone(),
        family: family.unwrap_or(ordinal),
        alg,
        expires: Time(world.clock.now().0 + time::Duration::days(REFRESH_DAYS)),
        spent: false,
    };
    world
        .auth
        .refresh
        .lock()
        .insert(refresh_token.clone(), kept);
    let (refresh_token, scope) = (Some(refresh_token), subject.scope.clone());
    Ok(granted(&Tokens {
        refresh_token,
        id_token,
        ..Tokens::new(access_token, scope)
    }))
}

fn refresh(world: &MockState, token: &str) -> Answer {
    let now = world.clock.now();
    let (user, family, alg) = {
        let mut all = world.auth.refresh.lock();
        let Some(known) = all.get_mut(token).filter(|r| r.expires > now) else {
            return Ok(refused("invalid_grant", "unknown or expired refresh token"));
        };
        let family = known.family;
        if known.spent {
            all.retain(|_, other| other.family != family);
            return Ok(refused(
                "invalid_grant",
                "the refresh token was used before; its family is revoked",
            ));
        }
        known.spent = true;
        (known.user.clone(), family, known.alg)
    };
    let Some(person) = users::find(&user) else {
        return Ok(refused("invalid_grant", "the user is gone"));
    };
    session(world, &Subject::of(&person), alg, Some(family))
}

fn client_credentials(world: &MockState, headers: &HeaderMap, request: TokenRequest) -> Answer {
    let basic = basic(headers);
    let in_form = request.client_id.zip(request.client_secret);
    let (id, secret) = basic.or(in_form).unwrap_or_default();
    if !CLIENTS.contains(&id.as_str()) || secret != CLIENT_SECRET {
        return Ok(problem(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "unknown client or wrong secret",
        ));
    }
    let subject = Subject::client(&id, request.scope.unwrap_or_else(|| "catalogue".to_owned()));
    let alg = world.auth.signing().algorithm();
    let access_token = tokens::access(world, &subject, alg, ACCESS_TTL).ok_or_else(no_keys)?;
    Ok(granted(&Tokens::new(access_token, subject.scope)))
}

impl Tokens {
    fn new(access_token: String, scope: String) -> Self {
        let expires_in = ACCESS_TTL.as_secs();
        Self {
            access_token,
            token_type: "Bearer",
            expires_in,
            refresh_token: None,
            id_token: None,
            scope,
        }
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let text = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    text.split_once(':')
        .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

fn granted(tokens: &Tokens) -> Response {
    private(StatusCode::OK, tokens)
}

fn refused(error: &str, why: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, error, why)
}

/// RFC 6749 §5.2, with the house's `message` beside it.
fn problem(status: StatusCode, error: &str, why: &str) -> Response {
    private(
        status,
        &serde_json::json!({ "error": error, "error_description": why, "message": why }),
    )
}

fn no_keys() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "no_keys",
        "this machine cannot make keys",
    )
}
