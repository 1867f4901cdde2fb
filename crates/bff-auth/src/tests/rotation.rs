//! Tests of cached tokens, and of refreshed, revoked and unavailable keys.

use http::header::AUTHORIZATION;
use tokio::time::advance;

use super::issuer::{Behavior, SLOW_DELAY};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_cached_token_expires() {
    let gateway = TestGateway::new();
    let token = EC.sign(&gateway.claims(json!({"exp": gateway.now() + 60})));
    assert!(gateway.bearer(&token).await.is_ok());
    advance(seconds(89)).await;
    assert!(gateway.bearer(&token).await.is_ok(), "within the leeway");
    advance(seconds(1)).await;
    assert_eq!(
        error_code(gateway.bearer(&token).await),
        codes::UNAUTHENTICATED
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_once_and_fetches_for_invented_keys_are_limited() {
    let gateway = TestGateway::new();
    let token = EC.sign(&gateway.claims(json!({})));
    assert!(gateway.bearer(&token).await.is_ok());
    advance(seconds(10)).await;
    let next = Signer::ec("next");
    gateway.issuer.publish(&[&EC, &next]);
    let rotated = next.sign(&gateway.claims(json!({})));
    assert!(gateway.bearer(&rotated).await.is_ok());
    assert_eq!(gateway.issuer.calls(), 2);
    let invented = Signer::ec("made-up").sign(&gateway.claims(json!({})));
    for _ in 0..5 {
        assert_eq!(
            error_code(gateway.bearer(&invented).await),
            codes::UNAUTHENTICATED
        );
    }
    assert_eq!(
        gateway.issuer.calls(),
        2,
        "not before the interval has passed"
    );
    advance(seconds(10)).await;
    for _ in 0..5 {
        assert_eq!(
            error_code(gateway.bearer(&invented).await),
            codes::UNAUTHENTICATED
        );
    }
    assert_eq!(gateway.issuer.calls(), 3);
    assert!(gateway.bearer(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_refreshed_in_the_background_and_a_revoked_key_is_removed() {
    let gateway = TestGateway::new();
    let token = EC.sign(&gateway.claims(json!({})));
    assert!(gateway.bearer(&token).await.is_ok());
    gateway.issuer.publish(&[&RSA]);
    advance(seconds(599)).await;
    assert!(gateway.bearer(&token).await.is_ok());
    gateway.run_tasks().await;
    assert_eq!(gateway.issuer.calls(), 1);
    advance(seconds(1)).await;
    assert!(
        gateway.bearer(&token).await.is_ok(),
        "the request does not wait for the fetch"
    );
    gateway.run_tasks().await;
    assert_eq!(gateway.issuer.calls(), 2);
    let error = gateway.bearer(&token).await.unwrap_err();
    assert_eq!(error.cause(), Some("the issuer has no key \"ec\""));
}

#[tokio::test(start_paused = true)]
async fn a_key_revoked_during_a_time_without_requests_is_not_accepted() {
    for is_cached in [true, false] {
        let gateway = TestGateway::new();
        let token = EC.sign(&gateway.claims(json!({})));
        assert!(gateway.bearer(&token).await.is_ok());
        gateway.issuer.publish(&[&RSA]);
        advance(seconds(1800)).await;
        let again = EC.sign(&gateway.claims(json!({"jti": "another"})));
        let sent = if is_cached { &token } else { &again };
        let error = gateway.bearer(sent).await.unwrap_err();
        assert_eq!(error.cause(), Some("the issuer has no key \"ec\""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_issuer_does_not_invalidate_tokens() {
    let gateway = TestGateway::new();
    let token = EC.sign(&gateway.claims(json!({})));
    assert!(gateway.bearer(&token).await.is_ok());
    gateway.issuer.set_behavior(Behavior::Failing);
    advance(seconds(700)).await;
    for _ in 0..3 {
        assert!(gateway.bearer(&token).await.is_ok());
        gateway.run_tasks().await;
    }
    assert_eq!(gateway.issuer.calls(), 2, "fetches are limited");
    gateway.issuer.set_behavior(Behavior::Normal);
    gateway.issuer.publish(&[]);
    advance(seconds(10)).await;
    for _ in 0..2 {
        let again = EC.sign(&gateway.claims(json!({})));
        assert!(
            gateway.bearer(&again).await.is_ok(),
            "an empty key set is ignored"
        );
        gateway.run_tasks().await;
    }
    assert_eq!(gateway.issuer.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_gets_503_until_keys_are_available() {
    let gateway = TestGateway::new();
    gateway.issuer.set_behavior(Behavior::Failing);
    let token = EC.sign(&gateway.claims(json!({})));
    for _ in 0..3 {
        let error = gateway.bearer(&token).await.unwrap_err();
        assert_eq!(error.code(), codes::UNAVAILABLE);
        assert_eq!(error.retry_hint(), Some(seconds(1)));
        assert!(
            error
                .cause()
                .unwrap()
                .contains("the backend responded with 500"),
            "{error:?}"
        );
    }
    assert_eq!(gateway.issuer.calls(), 1);
    assert_eq!(
        error_code(gateway.bearer("a.b.c").await),
        codes::UNAUTHENTICATED
    );
    gateway.issuer.set_behavior(Behavior::Normal);
    advance(seconds(1)).await;
    assert!(gateway.bearer(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn requests_share_one_fetch_and_each_has_its_own_deadline() {
    let gateway = TestGateway::new();
    gateway.issuer.set_behavior(Behavior::Slow);
    let token = EC.sign(&gateway.claims(json!({})));
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {token}").parse().unwrap();
    headers.insert(AUTHORIZATION, value);
    let start = Instant::now();
    let short = gateway.auth.authenticate(&headers, start + SLOW_DELAY / 2);
    let all = futures_util::future::join_all((0..10).map(|_| gateway.bearer(&token)));
    let (short, all) = tokio::join!(
        async {
            let result = short.await;
            (result, start.elapsed())
        },
        all
    );
    assert_eq!(short.0.unwrap_err().code(), codes::DEADLINE);
    assert!(short.1 < SLOW_DELAY, "{:?}", short.1);
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(gateway.issuer.calls(), 1);
}
