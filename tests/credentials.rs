//! Which credentials count, and what a client is told about those that do not.

use serde_json::{Value, json};
use services_mock::Backend;

use crate::support::{Shop, send};

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let shop = Shop::open().await;
    let url = format!("{}/login", shop.fleet.backend_url(Backend::Auth));
    let person = json!({"username": "ada", "password": "demo"});
    let tokens: Value = send(shop.http.post(url).json(&person))
        .await
        .json()
        .await
        .unwrap();
    let me = async |token: &str| {
        let bearer = format!("Bearer {}", tokens[token].as_str().unwrap());
        let headers = [("authorization", bearer.as_str())];
        shop.get_with("web", "/api/me", &headers)
            .await
            .status
            .as_u16()
    };
    assert_eq!(me("access_token").await, 200);
    assert_eq!(me("id_token").await, 401);
}
