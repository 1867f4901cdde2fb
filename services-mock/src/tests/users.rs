//! The user backend: authorization, preferences and addresses.

use super::*;

const ADA: [(&str, &str); 1] = [("x-user-id", "ada")];
const ROOT: [(&str, &str); 2] = [("x-user-id", "root"), ("x-user-role", "ADMIN")];

#[tokio::test(start_paused = true)]
async fn only_the_user_and_administrators_read_a_profile() {
    let mocks = mocks();
    let status = async |headers: &[(&str, &str)]| {
        call(&mocks, Backend::User, "GET /users/ben", headers, "")
            .await
            .status
    };
    assert_eq!(status(&[]).await, 401);
    assert_eq!(status(&ADA).await, 403);
    assert_eq!(status(&ROOT).await, 200);
    let own = call(&mocks, Backend::User, "GET /users/ada", &ADA, "").await;
    assert_eq!(
        (own.header("cache-control"), &own.json()["region"]),
        ("private, no-store", &Value::from("DE"))
    );
    assert_eq!(
        call(&mocks, Backend::User, "GET /users", &ADA, "")
            .await
            .status,
        403
    );
    let all = call(&mocks, Backend::User, "GET /users?perPage=5", &ROOT, "")
        .await
        .json();
    assert_eq!(
        (&all["total"], all["items"].as_array().unwrap().len()),
        (&Value::from(44), 5)
    );
}

#[tokio::test(start_paused = true)]
async fn ada_sees_that_ben_watched_the_first_product() {
    let path = "GET /users/ada/friends/activity?productId=p-1";
    let response = call(&mocks(), Backend::User, path, &ADA, "").await.json();
    let ben = response["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["friend"]["id"] == "ben")
        .unwrap();
    assert_eq!(ben["action"], "watched");
}

#[tokio::test(start_paused = true)]
async fn preferences_and_addresses_are_stored_until_a_reset() {
    let mocks = mocks();
    let path = "/users/ada/preferences";
    let preferences =
        r#"{"language":"fr","subtitles":true,"autoplay":false,"favouriteGenres":["crime"]}"#;
    let put = async |body: &str| {
        call(&mocks, Backend::User, &format!("PUT {path}"), &ADA, body)
            .await
            .status
    };
    assert_eq!(put(preferences).await, 200);
    assert_eq!(put(&preferences.replace("crime", "cats")).await, 422);
    let stored = call(&mocks, Backend::User, &format!("GET {path}"), &ADA, "")
        .await
        .json();
    assert_eq!(stored["language"], "fr");
    let address =
        r#"{"name":"Ada","street":"Ring 1","city":"Wien","postalCode":"1010","country":"AT"}"#;
    let added = call(
        &mocks,
        Backend::User,
        "POST /users/ada/addresses",
        &ADA,
        address,
    )
    .await;
    assert_eq!(
        (added.status.as_u16(), &added.json()["id"]),
        (201, &Value::from("a-2"))
    );
    mocks.reset();
    let stored = call(&mocks, Backend::User, &format!("GET {path}"), &ADA, "")
        .await
        .json();
    assert_eq!(stored["language"], "de");
}
