//! Tokens, verified as a gateway does: with the published keys only.

use super::*;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn login(mocks: &Mocks, query: &str, user: &str, password: &str) -> TestResponse {
    let body = serde_json::json!({ "username": user, "password": password }).to_string();
    call(
        mocks,
        Backend::Auth,
        &format!("POST /login{query}"),
        &[],
        &body,
    )
    .await
}

async fn keys(mocks: &Mocks) -> JwkSet {
    serde_json::from_slice(&get(mocks, Backend::Auth, "/jwks").await.body).unwrap()
}

async fn refresh(mocks: &Mocks, token: &str) -> TestResponse {
    let body = format!("grant_type=refresh_token&refresh_token={token}");
    call(mocks, Backend::Auth, "POST /token", &[FORM], &body).await
}

/// The claims, if a published key signed them.
fn claims(token: &str, keys: &JwkSet) -> Option<Value> {
    jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER
        .install_default()
        .ok();
    let header = decode_header(token).unwrap();
    let jwk = keys.find(&header.kid.unwrap())?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["bff"]);
    validation.set_issuer(&["http://issuer.test"]);
    // The system clock is not the clock of the test.
    validation.validate_exp = false;
    let decoded = decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation);
    Some(decoded.unwrap().claims)
}

#[tokio::test(start_paused = true)]
async fn a_login_returns_a_token_that_the_published_keys_verify() {
    let mocks = mocks();
    assert_eq!(login(&mocks, "", "ada", "wrong").await.status, 401);
    assert_eq!(login(&mocks, "?alg=HS256", "ada", "demo").await.status, 400);
    for (query, alg) in [("", Algorithm::RS256), ("?alg=ES256", Algorithm::ES256)] {
        let response = login(&mocks, query, "kim", "demo").await;
        assert_eq!(response.header("cache-control"), "private, no-store");
        let response = response.json();
        let token = response["access_token"].as_str().unwrap();
        assert_eq!(decode_header(token).unwrap().alg, alg);
        let token_type = |name: &str| decode_header(response[name].as_str().unwrap()).unwrap().typ;
        assert_eq!(token_type("access_token").as_deref(), Some("at+jwt"));
        assert_eq!(token_type("id_token").as_deref(), Some("JWT"));
        let claims = claims(token, &keys(&mocks).await).unwrap();
        assert_eq!(
            (&claims["sub"], &claims["maturity"]),
            (&Value::from("kim"), &Value::from("all"))
        );
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            3600
        );
        assert_eq!(
            (&response["token_type"], &response["expires_in"]),
            (&Value::from("Bearer"), &Value::from(3600))
        );
    }
    let root = claims(&mocks.token_for("root").unwrap(), &keys(&mocks).await).unwrap();
    assert_eq!(root["roles"], serde_json::json!(["ADMIN"]));
    assert!(mocks.token_for("unknown").is_none());
    let minted = claims(
        &mocks.mint("load-17", Duration::from_secs(60)),
        &keys(&mocks).await,
    )
    .unwrap();
    assert_eq!(
        (&minted["sub"], &minted["roles"][0]),
        (&Value::from("load-17"), &Value::from("customer"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_key_stays_published_until_the_second_rotation() {
    let mocks = mocks();
    let before = mocks.token_for("ada").unwrap();
    assert_eq!(keys(&mocks).await.keys.len(), 2);
    assert_eq!(
        call(&mocks, Port::Control, "POST /auth/rotate", &[], "")
            .await
            .status,
        204
    );
    let after = mocks.token_for("ada").unwrap();
    assert_eq!(decode_header(&after).unwrap().alg, Algorithm::ES256);
    let published = keys(&mocks).await;
    assert_eq!(published.keys.len(), 4);
    assert!(claims(&before, &published).is_some() && claims(&after, &published).is_some());
    mocks.rotate_keys();
    let published = keys(&mocks).await;
    assert!(claims(&before, &published).is_none() && claims(&after, &published).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_valid_once_and_its_reuse_revokes_the_family() {
    let mocks = mocks();
    let first = login(&mocks, "", "ada", "demo").await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = refresh(&mocks, &first).await;
    assert_eq!(second.status, 200);
    let second = second.json()["refresh_token"].as_str().unwrap().to_owned();
    let reused = refresh(&mocks, &first).await;
    assert_eq!(
        (reused.status.as_u16(), &reused.json()["error"]),
        (400, &Value::from("invalid_grant"))
    );
    assert_eq!(refresh(&mocks, &second).await.status, 400);
    let other = login(&mocks, "", "ada", "demo").await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(refresh(&mocks, &other).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn client_credentials_and_unsupported_grants() {
    let mocks = mocks();
    let token = async |body: &str| call(&mocks, Backend::Auth, "POST /token", &[FORM], body).await;
    let client =
        token("grant_type=client_credentials&client_id=demo-service&client_secret=demo-secret")
            .await
            .json();
    let claims = claims(
        client["access_token"].as_str().unwrap(),
        &keys(&mocks).await,
    )
    .unwrap();
    assert_eq!(
        (&claims["sub"], &client["refresh_token"]),
        (&Value::from("demo-service"), &Value::Null)
    );
    let wrong = token("grant_type=client_credentials&client_id=demo-service&client_secret=x").await;
    assert_eq!(
        (wrong.status.as_u16(), &wrong.json()["error"]),
        (401, &Value::from("invalid_client"))
    );
    for grant in ["password", "nonsense"] {
        let response = token(&format!("grant_type={grant}&username=ada&password=demo")).await;
        assert_eq!(
            (response.status.as_u16(), &response.json()["error"]),
            (400, &Value::from("unsupported_grant_type"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn userinfo_requires_a_valid_token() {
    let mocks = mocks();
    let token = format!("Bearer {}", mocks.token_for("ada").unwrap());
    let info = async || {
        call(
            &mocks,
            Backend::Auth,
            "GET /userinfo",
            &[("authorization", &token)],
            "",
        )
        .await
    };
    assert_eq!(info().await.json()["email"], "ada@shop.example");
    tokio::time::advance(Duration::from_secs(3601)).await;
    assert_eq!(info().await.status, 401);
    assert_eq!(get(&mocks, Backend::Auth, "/userinfo").await.status, 401);
    let forged = token.replace("Bearer ", "Bearer x");
    let response = call(
        &mocks,
        Backend::Auth,
        "GET /userinfo",
        &[("authorization", &forged)],
        "",
    )
    .await;
    assert_eq!(
        response.header("www-authenticate"),
        "Bearer error=\"invalid_token\""
    );
    let document = get(&mocks, Backend::Auth, "/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(document["jwks_uri"], "http://issuer.test/jwks");
}
