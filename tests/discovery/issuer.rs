//! The issuer is found as every backend is, and start-up waits for it too.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::json;
use services_mock::Backend;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::TestFleet;

/// An agent that answers once it is told where the issuer is.
async fn agent(mut told: watch::Receiver<Option<u16>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let response = move || async move {
        let port = *told.wait_for(Option::is_some).await.unwrap();
        let service = json!({"Address": "127.0.0.1", "Port": port});
        let one = json!([{"Node": {"Address": "127.0.0.1"}, "Service": service}]);
        ([("x-consul-index", "1")], axum::Json(one))
    };
    let agent = Router::new().route("/v1/health/service/issuer", get(response));
    tokio::spawn(async move { axum::serve(listener, agent).await });
    url
}

#[tokio::test]
async fn who_signs_in_first_waits_until_the_issuer_is_found() {
    let (tell, told) = watch::channel(None);
    let found_by = format!(
        "[auth.jwks.discovery]\nkind = \"consul\"\nname = \"issuer\"\nconsul = {{ url = \"{}\" }}\n",
        agent(told).await
    );
    let fleet = TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), found_by);
    })
    .await;
    let bearer = fleet.bearer("ada");
    let headers = [("authorization", bearer.as_str())];
    let asked = fleet.get_with("web", "/api/home", &headers);
    tokio::pin!(asked);
    let waiting = tokio::time::timeout(Duration::from_millis(300), &mut asked);
    assert!(waiting.await.is_err(), "nobody knows the issuer yet");
    let issuer = fleet.running.backend_url(Backend::Auth);
    let (_, port) = issuer.rsplit_once(':').unwrap();
    tell.send(Some(port.parse().unwrap())).unwrap();
    let response = asked.await;
    assert_eq!(response.status, 200, "{}", response.body);
}
