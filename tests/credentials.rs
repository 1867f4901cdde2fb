//! Which credentials count, and what a client is told about those that do not.

use serde_json::{Value, json};
use services_mock::Backend;

use crate::support::{TestFleet, send};

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let fleet = TestFleet::start().await;
    let url = format!("{}/login", fleet.running.backend_url(Backend::Auth));
    let person = json!({"username": "ada", "password": "demo"});
    let tokens: Value = send(fleet.http.post(url).json(&person))
        .await
        .json()
        .await
        .unwrap();
    let me = async |token: &str| {
        let bearer = format!("Bearer {}", tokens[token].as_str().unwrap());
        let headers = [("authorization", bearer.as_str())];
        fleet
            .get_with("web", "/api/me", &headers)
            .await
            .status
            .as_u16()
    };
    assert_eq!(me("access_token").await, 200);
    assert_eq!(me("id_token").await, 401);
}

#[tokio::test]
async fn a_refusal_says_which_credential_is_wanted() {
    let fleet = TestFleet::start().await;
    let bearer = "Bearer realm=\"web\"";
    let refused = format!(
        "{bearer}, error=\"invalid_token\", error_description=\"The access token is not valid\""
    );
    let key = "ApiKey realm=\"partner\"";
    for (gateway, path, header, challenge) in [
        ("web", "/api/me", None, bearer),
        (
            "web",
            "/api/home",
            Some(("authorization", "Bearer a.b.c")),
            &refused,
        ),
        (
            "web",
            "/api/home",
            Some(("authorization", "Basic YTpi")),
            bearer,
        ),
        ("web", "/api/home", Some(("x-api-key", "bffp_a_b")), bearer),
        ("partner", "/v2/products", None, key),
        (
            "partner",
            "/v2/products",
            Some(("x-api-key", "bffp_a_b")),
            key,
        ),
        (
            "partner",
            "/v2/products",
            Some(("authorization", "Bearer a.b.c")),
            key,
        ),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let response = fleet.get_with(gateway, path, &headers).await;
        assert_eq!(response.status, 401, "{header:?}");
        let told: Vec<_> = response
            .headers
            .get_all("www-authenticate")
            .iter()
            .collect();
        assert_eq!(told, [challenge], "{gateway} {header:?}");
    }
    let found = fleet.get("web", "/nowhere").await;
    assert!(!found.headers.contains_key("www-authenticate"));
}
