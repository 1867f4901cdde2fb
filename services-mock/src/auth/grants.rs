//! `POST /token`: one function for each grant.
//!
//! - `grant_type=refresh_token&refresh_token=...` → new tokens. A refresh token is valid once and for 30 days.
//!   Its reuse revokes the whole token family (RFC 9700 §4.14)
//! - `grant_type=client_credentials` with `client_id` and `client_secret`, in the form or as Basic → only an
//!   access token. Demo clients: `web-bff`, `mobile-bff`, `tv-bff`, `partner-bff`, `demo-service`; secret
//!   `demo-secret`
//! - another grant: 400 `unsupported_grant_type`

use std::sync::Arc;

use axum::Form;
use axum::extract::State as SharedState;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::keys::Algorithm;
use super::state::{RefreshToken, State};
use super::tokens::{self, ACCESS_TTL, Subject};
use crate::clock::Time;
use crate::response::{HandlerResult, Problem, private};
use crate::users;

/// The grants that `POST /token` supports.
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
    SharedState(state): SharedState<Arc<State>>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> HandlerResult {
    let Ok(Form(request)) = form else {
        return Ok(error_response("invalid_request", "the body is not a form"));
    };
    match request.grant_type.as_str() {
        "refresh_token" => refresh(&state, request.refresh_token.as_deref().unwrap_or_default()),
        "client_credentials" => client_credentials(&state, &headers, request),
        "" => Ok(error_response("invalid_request", "grant_type is missing")),
        _ => Ok(error_response(
            "unsupported_grant_type",
            "the grant is not supported",
        )),
    }
}

/// Issues tokens. `family` is the family of the refresh token that they replace.
pub(super) fn issue_tokens(
    state: &State,
    subject: &Subject,
    alg: Algorithm,
    family: Option<u64>,
) -> HandlerResult {
    let access_token = tokens::access(state, subject, alg, ACCESS_TTL).ok_or_else(no_keys)?;
    let id_token = tokens::identity(state, subject, alg);
    let ordinal = state.ordinal();
    let refresh_token = format!("rt_{}", state.rng.id("refresh", ordinal));
    let stored = RefreshToken {
        user: subject.sub.clone(),
        family: family.unwrap_or(ordinal),
        alg,
        expires: Time(state.clock.now().0 + time::Duration::days(REFRESH_DAYS)),
        used: false,
    };
    state.refresh.lock().insert(refresh_token.clone(), stored);
    let (refresh_token, scope) = (Some(refresh_token), subject.scope.clone());
    Ok(token_response(&Tokens {
        refresh_token,
        id_token,
        ..Tokens::new(access_token, scope)
    }))
}

fn refresh(state: &State, token: &str) -> HandlerResult {
    let now = state.clock.now();
    let (user, family, alg) = {
        let mut all = state.refresh.lock();
        let Some(stored) = all.get_mut(token).filter(|r| r.expires > now) else {
            return Ok(error_response(
                "invalid_grant",
                "unknown or expired refresh token",
            ));
        };
        let family = stored.family;
        if stored.used {
            all.retain(|_, other| other.family != family);
            return Ok(error_response(
                "invalid_grant",
                "the refresh token was used before; its family is revoked",
            ));
        }
        stored.used = true;
        (stored.user.clone(), family, stored.alg)
    };
    let Some(user) = users::find(&user) else {
        return Ok(error_response("invalid_grant", "the user does not exist"));
    };
    issue_tokens(state, &Subject::of(&user), alg, Some(family))
}

fn client_credentials(state: &State, headers: &HeaderMap, request: TokenRequest) -> HandlerResult {
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
    let alg = state.signing().algorithm();
    let access_token = tokens::access(state, &subject, alg, ACCESS_TTL).ok_or_else(no_keys)?;
    Ok(token_response(&Tokens::new(access_token, subject.scope)))
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

fn token_response(tokens: &Tokens) -> Response {
    private(StatusCode::OK, tokens)
}

fn error_response(error: &str, description: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, error, description)
}

/// An error of RFC 6749 §5.2, with the additional `message` of all backends.
fn problem(status: StatusCode, error: &str, description: &str) -> Response {
    private(
        status,
        &serde_json::json!({ "error": error, "error_description": description, "message": description }),
    )
}

fn no_keys() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "no_keys",
        "key generation failed",
    )
}
