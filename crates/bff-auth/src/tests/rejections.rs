//! Tests of rejected credentials.

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use proptest::prelude::*;

use super::issuer::encode;
use super::*;

/// Tokens, and the start of the reason in the log.
type InvalidTokens = Vec<(String, &'static str)>;

fn invalid_claims(gateway: &TestGateway) -> InvalidTokens {
    let now = gateway.now();
    [
        (json!({"exp": now - 30}), "the token expired 30 s ago"),
        (json!({"exp": null}), "the token has no exp"),
        (
            json!({"nbf": now + 31}),
            "the token is valid in 31 s, not yet",
        ),
        (
            json!({"iat": now + 31}),
            "the token was issued 31 s in the future",
        ),
        (
            json!({"iss": "https://issuer.example/"}),
            "the token's iss is not auth.issuer",
        ),
        (
            json!({"aud": ["other"]}),
            "the token's aud does not name auth.audience",
        ),
        (json!({"sub": null}), "the token has no sub"),
        (
            json!({"sub": ".."}),
            "the token's sub cannot be sent to backends",
        ),
        (json!({"roles": 7}), "the token's roles is not at most"),
    ]
    .map(|(edit, reason)| (EC.sign(&gateway.claims(edit)), reason))
    .into()
}

fn invalid_headers(claims: &Value) -> InvalidTokens {
    [
        (
            json!({"typ": "at+jwt", "alg": "ES256", "kid": "who"}),
            "the issuer has no key \"who\"",
        ),
        (
            json!({"typ": "at+jwt", "alg": "RS256", "kid": "ec"}),
            "the token's alg is not that of the key",
        ),
        (
            json!({"typ": "at+jwt", "alg": "ES256", "kid": "rsa"}),
            "the token's alg is not that of the key",
        ),
        (
            json!({"typ": "at+jwt", "alg": "HS256", "kid": "ec"}),
            "the token's alg is not one of",
        ),
        (
            json!({"typ": "at+jwt", "alg": "none", "kid": "ec"}),
            "the token's alg is not one of",
        ),
        (
            json!({"typ": "at+jwt", "alg": "ES256"}),
            "the token is malformed: its header has no kid",
        ),
        (
            json!({"alg": "ES256", "kid": "ec"}),
            "the token's typ is not auth.token_type",
        ),
    ]
    .map(|(header, reason)| (EC.sign_as(&header, claims), reason))
    .into()
}

fn invalid_signatures(claims: &Value, root: &Value) -> InvalidTokens {
    let token = EC.sign(claims);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let payload = encode(root.to_string());
    let wrong_signature = "the token's signature does not verify";
    let wrong_format = "the token is malformed: it is not three parts";
    vec![
        (Signer::ec("ec").sign(claims), wrong_signature),
        (format!("{header}.{payload}.{signature}"), wrong_signature),
        (format!("{signed}."), wrong_signature),
        (format!("{signed}.!"), wrong_signature),
        (signed.to_owned(), wrong_format),
        ("x".to_owned(), wrong_format),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_invalid_token_gets_401_with_one_text_and_its_own_reason() {
    let gateway = TestGateway::new();
    let claims = gateway.claims(json!({}));
    let mut invalid = invalid_claims(&gateway);
    invalid.extend(invalid_headers(&claims));
    invalid.extend(invalid_signatures(
        &claims,
        &gateway.claims(json!({"sub": "root"})),
    ));
    for (token, reason) in invalid {
        let error = gateway.bearer(&token).await.unwrap_err();
        assert_eq!(error.code(), codes::UNAUTHENTICATED, "{reason}");
        assert_eq!(error.status(), StatusCode::UNAUTHORIZED);
        let detail = "The credential of the request is not valid.";
        assert_eq!(error.detail(), detail);
        let cause = error.cause().unwrap();
        assert!(cause.starts_with(reason), "{cause} is not {reason}");
        assert!(token.len() < 2 || !cause.contains(&token));
    }
    let valid = gateway.bearer(&EC.sign(&claims)).await;
    assert!(valid.is_ok(), "the unchanged token is valid");
}

/// An ID token (OpenID Connect Core §2) has the same issuer, keys and user, but its audience is the client.
#[tokio::test(start_paused = true)]
async fn an_id_token_is_not_accepted_as_an_access_token() {
    let gateway = TestGateway::new();
    let header = |typ: &str| json!({"alg": "ES256", "typ": typ, "kid": "ec"});
    let id = gateway.claims(json!({"aud": "web-bff", "nonce": "n", "at_hash": "h"}));
    let cause = async |typ, claims: &Value| {
        let error = gateway.bearer(&EC.sign_as(&header(typ), claims)).await;
        error.unwrap_err().cause().unwrap().to_owned()
    };
    let wrong_type = "the token's typ is not auth.token_type";
    assert_eq!(cause("JWT", &id).await, wrong_type);
    let for_us = gateway.claims(json!({"nonce": "n"}));
    assert_eq!(cause("JWT", &for_us).await, wrong_type, "for any aud");
    let audience = "the token's aud does not name auth.audience";
    assert_eq!(cause("at+jwt", &id).await, audience, "for any typ");
    // If the issuer uses the type JWT for access tokens, only aud distinguishes ID tokens.
    let jwt_gateway = TestGateway::with(&Config {
        token_type: "JWT".into(),
        ..config()
    });
    let access = EC.sign_as(&header("JWT"), &jwt_gateway.claims(json!({})));
    assert!(jwt_gateway.bearer(&access).await.is_ok());
    let id = jwt_gateway.bearer(&EC.sign_as(&header("JWT"), &id)).await;
    assert_eq!(id.unwrap_err().cause(), Some(audience));
}

#[tokio::test(start_paused = true)]
async fn two_valid_credentials_get_401() {
    let gateway = TestGateway::new();
    let token = format!("Bearer {}", EC.sign(&gateway.claims(json!({}))));
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, token.parse().unwrap());
    headers.append(AUTHORIZATION, token.parse().unwrap());
    let error = gateway.authenticate(&headers).await.unwrap_err();
    assert_eq!(error.cause(), Some("more than one credential was sent"));
    assert_eq!(error.code(), codes::UNAUTHENTICATED);
}

proptest! {
    #[test]
    fn no_header_panics(bearer: Vec<u8>, key: Vec<u8>, parts in "[A-Za-z0-9_.-]{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let accepted = runtime.unwrap().block_on(async {
            let pipes = bff_runtime::net::InMemoryNetwork::new(|_, _, _| Err(std::io::ErrorKind::ConnectionRefused.into()));
            let auth = Authenticator::new(&config(), &shared(Net::InMemory(pipes))).unwrap();
            let mut accepted = 0;
            for (name, value) in [
                ("authorization", bearer.clone()),
                ("authorization", [b"Bearer ", &bearer[..]].concat()),
                ("authorization", format!("Bearer {parts}").into_bytes()),
                ("x-api-key", key.clone()),
                ("x-api-key", [b"bffp_", &key[..]].concat()),
            ] {
                let mut headers = HeaderMap::new();
                let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
                headers.insert(name, value);
                let deadline = Instant::now() + seconds(1);
                accepted += usize::from(auth.authenticate(&headers, deadline).await.is_ok());
            }
            accepted
        });
        prop_assert_eq!(accepted, 0);
    }
}
