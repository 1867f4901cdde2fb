//! Keys and tokens as time passes: what is remembered, refreshed, withdrawn and unavailable.

use http::header::AUTHORIZATION;
use tokio::time::advance;

use super::issuer::{Mood, SLOW};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_remembered_token_ends_with_its_time() {
    let scene = Scene::new();
    let token = EC.sign(&scene.claims(json!({"exp": scene.now() + 60})));
    assert!(scene.bearer(&token).await.is_ok());
    advance(seconds(89)).await;
    assert!(scene.bearer(&token).await.is_ok(), "within the leeway");
    advance(seconds(1)).await;
    assert_eq!(code(scene.bearer(&token).await), codes::UNAUTHENTICATED);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_once_and_made_up_ones_are_limited() {
    let scene = Scene::new();
    let token = EC.sign(&scene.claims(json!({})));
    assert!(scene.bearer(&token).await.is_ok());
    advance(seconds(10)).await;
    let next = Signer::ec("next");
    scene.issuer.publish(&[&EC, &next]);
    let rotated = next.sign(&scene.claims(json!({})));
    assert!(scene.bearer(&rotated).await.is_ok());
    assert_eq!(scene.issuer.calls(), 2);
    let made_up = Signer::ec("made-up").sign(&scene.claims(json!({})));
    for _ in 0..5 {
        assert_eq!(code(scene.bearer(&made_up).await), codes::UNAUTHENTICATED);
    }
    assert_eq!(
        scene.issuer.calls(),
        2,
        "not before the interval has passed"
    );
    advance(seconds(10)).await;
    for _ in 0..5 {
        assert_eq!(code(scene.bearer(&made_up).await), codes::UNAUTHENTICATED);
    }
    assert_eq!(scene.issuer.calls(), 3);
    assert!(scene.bearer(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_replaced_meanwhile_and_a_withdrawn_key_is_forgotten() {
    let scene = Scene::new();
    let token = EC.sign(&scene.claims(json!({})));
    assert!(scene.bearer(&token).await.is_ok());
    scene.issuer.publish(&[&RSA]);
    advance(seconds(599)).await;
    assert!(scene.bearer(&token).await.is_ok());
    scene.settle().await;
    assert_eq!(scene.issuer.calls(), 1);
    advance(seconds(1)).await;
    assert!(
        scene.bearer(&token).await.is_ok(),
        "nobody waits for the fetch"
    );
    scene.settle().await;
    assert_eq!(scene.issuer.calls(), 2);
    let error = scene.bearer(&token).await.unwrap_err();
    assert_eq!(error.cause(), Some("the issuer has no key \"ec\""));
}

#[tokio::test(start_paused = true)]
async fn a_key_withdrawn_while_nobody_asked_lets_nobody_in() {
    for remembered in [true, false] {
        let scene = Scene::new();
        let token = EC.sign(&scene.claims(json!({})));
        assert!(scene.bearer(&token).await.is_ok());
        scene.issuer.publish(&[&RSA]);
        advance(seconds(1800)).await;
        let again = EC.sign(&scene.claims(json!({"jti": "another"})));
        let sent = if remembered { &token } else { &again };
        let error = scene.bearer(sent).await.unwrap_err();
        assert_eq!(error.cause(), Some("the issuer has no key \"ec\""));
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_fails_signs_nobody_out() {
    let scene = Scene::new();
    let token = EC.sign(&scene.claims(json!({})));
    assert!(scene.bearer(&token).await.is_ok());
    scene.issuer.is(Mood::Fails);
    advance(seconds(700)).await;
    for _ in 0..3 {
        assert!(scene.bearer(&token).await.is_ok());
        scene.settle().await;
    }
    assert_eq!(scene.issuer.calls(), 2, "and is not asked without pause");
    scene.issuer.is(Mood::Well);
    scene.issuer.publish(&[]);
    advance(seconds(10)).await;
    for _ in 0..2 {
        let again = EC.sign(&scene.claims(json!({})));
        assert!(scene.bearer(&again).await.is_ok(), "no keys is no answer");
        scene.settle().await;
    }
    assert_eq!(scene.issuer.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_any_key_the_answer_is_503_until_there_is_one() {
    let scene = Scene::new();
    scene.issuer.is(Mood::Fails);
    let token = EC.sign(&scene.claims(json!({})));
    for _ in 0..3 {
        let error = scene.bearer(&token).await.unwrap_err();
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
    assert_eq!(scene.issuer.calls(), 1);
    assert_eq!(code(scene.bearer("a.b.c").await), codes::UNAUTHENTICATED);
    scene.issuer.is(Mood::Well);
    advance(seconds(1)).await;
    assert!(scene.bearer(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn many_requests_share_one_fetch_and_each_waits_by_its_own_deadline() {
    let scene = Scene::new();
    scene.issuer.is(Mood::Slow);
    let token = EC.sign(&scene.claims(json!({})));
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {token}").parse().unwrap();
    headers.insert(AUTHORIZATION, value);
    let began = Instant::now();
    let hurried = scene.auth.authenticate(&headers, began + SLOW / 2);
    let all = futures_util::future::join_all((0..10).map(|_| scene.bearer(&token)));
    let (hurried, all) = tokio::join!(
        async {
            let answer = hurried.await;
            (answer, began.elapsed())
        },
        all
    );
    assert_eq!(hurried.0.unwrap_err().code(), codes::DEADLINE);
    assert!(hurried.1 < SLOW, "{:?}", hurried.1);
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(scene.issuer.calls(), 1);
}
