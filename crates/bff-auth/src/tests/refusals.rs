//! Every credential that is not believed.

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use proptest::prelude::*;

use super::issuer::encode;
use super::*;

/// Tokens, and how the log's reason begins.
type Bad = Vec<(String, &'static str)>;

fn bad_claims(scene: &Scene) -> Bad {
    let now = scene.now();
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
        (json!({"sub": ".."}), "the token's sub cannot be sent on"),
        (json!({"roles": 7}), "the token's roles is not at most"),
    ]
    .map(|(edit, reason)| (EC.sign(&scene.claims(edit)), reason))
    .into()
}

fn bad_headers(good: &Value) -> Bad {
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
    .map(|(header, reason)| (EC.sign_as(&header, good), reason))
    .into()
}

fn bad_signatures(good: &Value, root: &Value) -> Bad {
    let token = EC.sign(good);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let payload = encode(root.to_string());
    let unverified = "the token's signature does not verify";
    let shapeless = "the token is malformed: it is not three parts";
    vec![
        (Signer::ec("ec").sign(good), unverified),
        (format!("{header}.{payload}.{signature}"), unverified),
        (format!("{signed}."), unverified),
        (format!("{signed}.!"), unverified),
        (signed.to_owned(), shapeless),
        ("x".to_owned(), shapeless),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_bad_token_is_401_with_one_text_and_its_own_reason() {
    let scene = Scene::new();
    let good = scene.claims(json!({}));
    let mut bad = bad_claims(&scene);
    bad.extend(bad_headers(&good));
    bad.extend(bad_signatures(&good, &scene.claims(json!({"sub": "root"}))));
    for (token, reason) in bad {
        let error = scene.bearer(&token).await.unwrap_err();
        assert_eq!(error.code(), codes::UNAUTHENTICATED, "{reason}");
        assert_eq!(error.status(), StatusCode::UNAUTHORIZED);
        let detail = "The credential that came with the request is not valid.";
        assert_eq!(error.detail(), detail);
        let cause = error.cause().unwrap();
        assert!(cause.starts_with(reason), "{cause} is not {reason}");
        assert!(token.len() < 2 || !cause.contains(&token));
    }
    let twin = scene.bearer(&EC.sign(&good)).await;
    assert!(twin.is_ok(), "the twin of all of them is good");
}

/// An ID token (OpenID Connect Core §2) is of the same issuer, keys and person, but meant for the client alone.
#[tokio::test(start_paused = true)]
async fn an_id_token_is_no_access_token() {
    let scene = Scene::new();
    let header = |typ: &str| json!({"alg": "ES256", "typ": typ, "kid": "ec"});
    let id = scene.claims(json!({"aud": "web-bff", "nonce": "n", "at_hash": "h"}));
    let cause = async |typ, claims: &Value| {
        let error = scene.bearer(&EC.sign_as(&header(typ), claims)).await;
        error.unwrap_err().cause().unwrap().to_owned()
    };
    let wrong_type = "the token's typ is not auth.token_type";
    assert_eq!(cause("JWT", &id).await, wrong_type);
    let for_us = scene.claims(json!({"nonce": "n"}));
    assert_eq!(cause("JWT", &for_us).await, wrong_type, "whatever its aud");
    let audience = "the token's aud does not name auth.audience";
    assert_eq!(cause("at+jwt", &id).await, audience, "whatever its typ");
    // An issuer that calls its access tokens JWT is told apart by aud alone.
    let told = Scene::with(&Config {
        token_type: "JWT".into(),
        ..config()
    });
    let access = EC.sign_as(&header("JWT"), &told.claims(json!({})));
    assert!(told.bearer(&access).await.is_ok());
    let id = told.bearer(&EC.sign_as(&header("JWT"), &id)).await;
    assert_eq!(id.unwrap_err().cause(), Some(audience));
}

#[tokio::test(start_paused = true)]
async fn two_credentials_are_401_even_when_both_are_good() {
    let scene = Scene::new();
    let token = format!("Bearer {}", EC.sign(&scene.claims(json!({}))));
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, token.parse().unwrap());
    headers.append(AUTHORIZATION, token.parse().unwrap());
    let error = scene.authenticate(&headers).await.unwrap_err();
    assert_eq!(error.cause(), Some("more than one credential was sent"));
    assert_eq!(error.code(), codes::UNAUTHENTICATED);
}

proptest! {
    #[test]
    fn no_header_panics(bearer: Vec<u8>, key: Vec<u8>, parts in "[A-Za-z0-9_.-]{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let answered = runtime.unwrap().block_on(async {
            let pipes = bff_runtime::net::InMemoryNetwork::new(|_, _, _| Err(std::io::ErrorKind::ConnectionRefused.into()));
            let auth = Authenticator::new(&config(), &shared(Net::InMemory(pipes))).unwrap();
            let mut answered = 0;
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
                answered += usize::from(auth.authenticate(&headers, deadline).await.is_ok());
            }
            answered
        });
        prop_assert_eq!(answered, 0);
    }
}
