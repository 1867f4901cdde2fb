//! The accepted credentials, and the challenges for all others.

use serde_json::{Value, json};
use services_mock::Backend;

use crate::support::{TestFleet, send};

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let fleet = TestFleet::start().await;
    let url = format!("{}/login", fleet.running.backend_url(Backend::Auth));
    let login = json!({"username": "ada", "password": "demo"});
    let tokens: Value = send(fleet.http.post(url).json(&login))
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
async fn a_401_names_the_required_credential() {
    let fleet = TestFleet::start().await;
    let bearer = "Bearer realm=\"web\"";
    let invalid_token = format!(
        "{bearer}, error=\"invalid_token\", error_description=\"The access token is not valid\""
    );
    let key = "ApiKey realm=\"partner\"";
    for (gateway, path, header, challenge) in [
        ("web", "/api/me", None, bearer),
        (
            "web",
            "/api/home",
            Some(("authorization", "Bearer a.b.c")),
            &invalid_token,
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
        let challenges: Vec<_> = response
            .headers
            .get_all("www-authenticate")
            .iter()
            .collect();
        assert_eq!(challenges, [challenge], "{gateway} {header:?}");
    }
    let unknown_path = fleet.get("web", "/nowhere").await;
    assert!(!unknown_path.headers.contains_key("www-authenticate"));
}
