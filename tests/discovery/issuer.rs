//! The issuer uses the same service discovery as every backend.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::json;
use services_mock::Backend;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::TestFleet;

/// Starts a Consul agent that responds once the issuer's port is known.
async fn agent(mut port: watch::Receiver<Option<u16>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let response = move || async move {
        let port = *port.wait_for(Option::is_some).await.unwrap();
        let service = json!({"Address": "127.0.0.1", "Port": port});
        let instances = json!([{"Node": {"Address": "127.0.0.1"}, "Service": service}]);
        ([("x-consul-index", "1")], axum::Json(instances))
    };
    let agent = Router::new().route("/v1/health/service/issuer", get(response));
    tokio::spawn(async move { axum::serve(listener, agent).await });
    url
}

#[tokio::test]
async fn the_first_sign_in_waits_until_the_issuer_is_discovered() {
    let (sender, port) = watch::channel(None);
    let config = format!(
        "[inbound]\ndeadline = \"30s\"\n[auth.jwks.discovery]\nkind = \"consul\"\nname = \"issuer\"\nconsul = {{ url = \"{}\" }}\n",
        agent(port).await
    );
    let fleet = TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), config);
    })
    .await;
    let bearer = fleet.bearer("ada");
    let headers = [("authorization", bearer.as_str())];
    let request = fleet.get_with("web", "/api/home", &headers);
    tokio::pin!(request);
    let waiting = tokio::time::timeout(Duration::from_millis(300), &mut request);
    assert!(waiting.await.is_err(), "the issuer is not discovered yet");
    let issuer = fleet.running.backend_url(Backend::Auth);
    let (_, port) = issuer.rsplit_once(':').unwrap();
    sender.send(Some(port.parse().unwrap())).unwrap();
    let response = request.await;
    assert_eq!(response.status, 200, "{}", response.body);
}
