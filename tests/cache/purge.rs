//! Purges by tag, by key and by upstream through the admin port.

use reqwest::StatusCode;

use super::*;

pub(super) const TOKEN: &str = "only-for-this-test";

pub(super) async fn purge(
    fleet: &TestFleet,
    token: Option<&str>,
    body: &Value,
) -> (StatusCode, Value, String) {
    let url = format!("{}/cache/purge", fleet.running.admin_url("web"));
    let mut request = fleet.http.post(url).json(body);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = send(request).await;
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map_or("", |c| c.to_str().unwrap()).to_owned();
    (response.status(), response.json().await.unwrap(), challenge)
}

#[tokio::test]
async fn a_purge_removes_the_named_entries_only() {
    let fleet = start_caching(&format!("[server]\nadmin_token = \"{TOKEN}\"\n")).await;
    fleet.get("web", PART).await;
    for (body, purged_sections) in [
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
        let (status, reply, _) = purge(&fleet, Some(TOKEN), &body).await;
        assert_eq!(status, 200, "{reply}");
        assert!(reply["purged"].as_u64().unwrap() > 0 && reply["atMs"].as_u64().unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let page = fleet.get("web", PART).await;
        for section in ["product", "reviews", "availability"] {
            let state = if purged_sections.contains(&section) {
                "fresh"
            } else {
                "cached"
            };
            assert_eq!(page.section(section)["state"], state, "{body}: {section}");
        }
    }
}

#[tokio::test]
async fn a_purge_requires_the_admin_token() {
    let body = json!({"tags": ["product:p-1"]});
    let fleet = start_caching("").await;
    let (status, reply, _) = purge(&fleet, Some(TOKEN), &body).await;
    assert_eq!(
        (status.as_u16(), &reply["code"]),
        (403, &"forbidden".into())
    );
    assert!(reply["detail"].as_str().unwrap().contains("admin_token"));

    let fleet = start_caching(&format!("[server]\nadmin_token = \"{TOKEN}\"\n")).await;
    fleet.get("web", PART).await;
    for token in [None, Some(""), Some("only-for-this-tesu"), Some("only")] {
        let (status, reply, challenge) = purge(&fleet, token, &body).await;
        assert_eq!(
            (status.as_u16(), &reply["code"]),
            (401, &"unauthenticated".into())
        );
        assert_eq!(challenge, "Bearer realm=\"admin\"");
    }
    for invalid in [
        json!({}),
        json!({"tag": ["a"]}),
        json!([]),
        json!({"tags": [""]}),
        json!({"upstreams": ["product", "reviews"]}),
        json!({"keys": [{"upstream": "odd", "path": "/a"}]}),
    ] {
        let (status, reply, _) = purge(&fleet, Some(TOKEN), &invalid).await;
        assert_eq!(
            (status.as_u16(), &reply["code"]),
            (400, &"invalid_request".into()),
            "{invalid}"
        );
    }
    assert_eq!(fleet.get("web", PART).await.header("x-cache"), "HIT");
    // The configuration page hides the token, and the public listener has no purge endpoint.
    let config = fleet
        .http
        .get(format!("{}/config", fleet.running.admin_url("web")));
    assert!(!send(config).await.text().await.unwrap().contains(TOKEN));
    let public = fleet.post("web", "/cache/purge", &body).await;
    assert_eq!(public.status, 404);
}
