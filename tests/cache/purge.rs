//! Purging by tag, by address and by backend, on the admin port.

use reqwest::StatusCode;

use super::*;

pub(super) const TOKEN: &str = "only-for-this-test";

pub(super) async fn purge(
    shop: &Shop,
    token: Option<&str>,
    body: &Value,
) -> (StatusCode, Value, String) {
    let url = format!("{}/cache/purge", shop.fleet.admin_url("web"));
    let mut request = shop.http.post(url).json(body);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = send(request).await;
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map_or("", |c| c.to_str().unwrap()).to_owned();
    (answer.status(), answer.json().await.unwrap(), challenge)
}

#[tokio::test]
async fn a_purge_is_seen_by_the_next_reader_and_spares_the_rest() {
    let shop = keeping(&format!("[server]\nadmin_token = \"{TOKEN}\"\n")).await;
    shop.get("web", PART).await;
    for (body, killed) in [
        (
            json!({"tags": ["product:p-1"]}),
            &["product", "reviews"][..],
        ),
        (json!({"tags": ["reviews:p-1"]}), &["reviews"]),
        (json!({"tags": ["product:p-2"]}), &[]),
        (
            json!({"keys": [{"upstream": "product", "path": "/products/p-1"}]}),
            &["product"],
        ),
        (
            json!({"keys": [{"upstream": "review", "path": "/reviews"}]}),
            &["reviews"],
        ),
        (
            json!({"upstreams": ["inventory", "product"]}),
            &["product", "availability"],
        ),
    ] {
        let (status, told, _) = purge(&shop, Some(TOKEN), &body).await;
        assert_eq!(status, 200, "{told}");
        assert!(told["purged"].as_u64().unwrap() > 0 && told["atMs"].as_u64().unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let page = shop.get("web", PART).await;
        for section in ["product", "reviews", "availability"] {
            let state = if killed.contains(&section) {
                "fresh"
            } else {
                "cached"
            };
            assert_eq!(page.section(section)["state"], state, "{body}: {section}");
        }
    }
}

#[tokio::test]
async fn only_who_holds_the_token_changes_anything() {
    let body = json!({"tags": ["product:p-1"]});
    let shop = keeping("").await;
    let (status, told, _) = purge(&shop, Some(TOKEN), &body).await;
    assert_eq!((status.as_u16(), &told["code"]), (403, &"forbidden".into()));
    assert!(told["detail"].as_str().unwrap().contains("admin_token"));

    let shop = keeping(&format!("[server]\nadmin_token = \"{TOKEN}\"\n")).await;
    shop.get("web", PART).await;
    for token in [None, Some(""), Some("only-for-this-tesu"), Some("only")] {
        let (status, told, challenge) = purge(&shop, token, &body).await;
        assert_eq!(
            (status.as_u16(), &told["code"]),
            (401, &"unauthenticated".into())
        );
        assert_eq!(challenge, "Bearer realm=\"admin\"");
    }
    for wrong in [
        json!({}),
        json!({"tag": ["a"]}),
        json!([]),
        json!({"tags": [""]}),
        json!({"upstreams": ["product", "reviews"]}),
        json!({"keys": [{"upstream": "odd", "path": "/a"}]}),
    ] {
        let (status, told, _) = purge(&shop, Some(TOKEN), &wrong).await;
        assert_eq!(
            (status.as_u16(), &told["code"]),
            (400, &"invalid_request".into()),
            "{wrong}"
        );
    }
    assert_eq!(shop.get("web", PART).await.header("x-cache"), "HIT");
    // The token is told to nobody, and the port that clients reach purges nothing.
    let config = shop
        .http
        .get(format!("{}/config", shop.fleet.admin_url("web")));
    assert!(!send(config).await.text().await.unwrap().contains(TOKEN));
    let outside = shop.post("web", "/cache/purge", &body).await;
    assert_eq!(outside.status, 404);
}
