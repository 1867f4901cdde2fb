//! The identity provider (3000).
//!
//! - `GET /.well-known/openid-configuration`, `GET /jwks`: public, fresh for 300 s, `ETag`
//! - `POST /login` `{"username","password"}` → RFC 6749 token response `{"access_token","token_type":"Bearer",
//!   "expires_in":3600,"refresh_token","id_token","scope"}`; 401 for a wrong password; `?alg=RS256|ES256`
//!   selects the key; default: the algorithm of the signing generation
//! - `POST /token`, form-encoded (see `grants.rs`): `refresh_token`, `client_credentials`; errors as RFC 6749 §5.2
//! - `GET /userinfo` with a Bearer access token → `{"sub","name","email","roles","region","maturity"}`; 401
//!
//! Claims of an access token (`typ` `at+jwt`, header with `kid`): `iss`, `aud` "bff", `sub`, `profile`
//! ("main"; "kids" for kim), `name`, `roles` (`["customer"]` or `["ADMIN"]`), `region`, `maturity`
//! ("all|teen|adult", the highest allowed level), `scope`, `iat`, `exp` (1 h), `jti`.
//! An ID token has `typ` `JWT` and the `aud` "web-bff"; it is not valid as an access token.
//! Rotation (control port) starts a new generation of signing keys. The previous one is published until the next rotation.

mod grants;
mod keys;
mod state;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::extract::State as SharedState;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::response::{HandlerResult, Json, Problem, Query, private, public};
use crate::users;

use keys::{Algorithm, Generation};
use tokens::Subject;

pub(crate) use state::State;
pub(crate) use tokens::{mint, token_for};

const MAX_AGE_S: u32 = 300;
const PASSWORD: &str = "demo";

pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/login", post(login))
        .route("/token", post(grants::token))
        .route("/userinfo", get(userinfo))
        .with_state(state)
}

/// The discovery document. The grants for authorization codes and device codes are not implemented yet.
async fn discovery(SharedState(state): SharedState<Arc<State>>, headers: HeaderMap) -> Response {
    let issuer = &state.issuer;
    let body = serde_json::json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "grant_types_supported": grants::SUPPORTED,
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "subject_types_supported": ["public"],
        "scopes_supported": ["openid", "profile", "shop", "admin"],
    });
    public(&headers, MAX_AGE_S, &body)
}

async fn jwks(SharedState(state): SharedState<Arc<State>>, headers: HeaderMap) -> Response {
    let published = state.published();
    let jwks_of = |g: &Generation| [g.jwk(Algorithm::Rs256), g.jwk(Algorithm::Es256)];
    let keys: Vec<_> = published.iter().flat_map(jwks_of).flatten().collect();
    public(&headers, MAX_AGE_S, &serde_json::json!({ "keys": keys }))
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct LoginQuery {
    alg: Option<Algorithm>,
}

async fn login(
    SharedState(state): SharedState<Arc<State>>,
    Query(query): Query<LoginQuery>,
    Json(credentials): Json<Credentials>,
) -> HandlerResult {
    let user = users::find(&credentials.username).filter(|_| credentials.password == PASSWORD);
    let user = user.ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "invalid_credentials",
            "wrong username or password",
        )
    })?;
    let alg = query.alg.unwrap_or_else(|| state.signing().algorithm());
    let subject = Subject::of(&user);
    grants::issue_tokens(&state, &subject, alg, None)
}

#[derive(Serialize)]
struct UserInfo<'a> {
    sub: &'a str,
    name: &'a str,
    email: &'a str,
    roles: [&'static str; 1],
    region: &'static str,
    maturity: &'static str,
}

async fn userinfo(SharedState(state): SharedState<Arc<State>>, headers: HeaderMap) -> Response {
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = header.and_then(|text| text.strip_prefix("Bearer "));
    let sub = token.and_then(|token| tokens::verify(&state, token));
    let Some(user) = sub.as_deref().and_then(users::find) else {
        let mut response =
            Problem::unauthenticated("a valid access token is required").into_response();
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        return response;
    };
    let Subject {
        roles,
        region,
        maturity,
        ..
    } = Subject::of(&user);
    let body = UserInfo {
        sub: &user.id,
        name: &user.name,
        email: &user.email,
        roles,
        region,
        maturity,
    };
    private(StatusCode::OK, &body)
}
