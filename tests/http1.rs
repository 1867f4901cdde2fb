//! Requests over HTTP/1.1, byte by byte: targets, framing, unfinished bodies and early responses.

use std::time::Duration;

use fleet::Running;
use services_mock::Backend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::TestFleet;

mod bodies;
mod early_responses;
mod fields;
mod headers;
mod targets;

/// Longer than any response takes on a busy machine.
const MAX_TIME: Duration = Duration::from_secs(20);

/// Starts web with this configuration.
async fn start(overlay: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), overlay.into());
    })
    .await
}

/// A response, as it was received.
#[derive(Debug)]
struct RawResponse(String);

impl RawResponse {
    fn status(&self) -> u16 {
        let status = self.0.split(' ').nth(1).unwrap_or_default();
        status.parse().unwrap_or_default()
    }

    /// The values of a header, with commas between them.
    fn header(&self, name: &str) -> String {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default();
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        let values = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let values: Vec<&str> = values.map(|(_, value)| value).collect();
        values.join(", ")
    }

    /// The `code` of a problem document.
    fn code(&self) -> String {
        let body = self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client that writes its own bytes"
)]
async fn connect(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// Writes bytes to web, and reads until it closes the connection.
async fn exchange(fleet: &TestFleet, request: &str) -> RawResponse {
    let mut client = connect(&fleet.running.url("web")).await;
    client.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut client).await
}

/// Reads until the gateway closes the connection.
async fn read_to_end(client: &mut TcpStream) -> RawResponse {
    let mut response = Vec::new();
    let end = timeout(MAX_TIME, client.read_to_end(&mut response)).await;
    end.unwrap().unwrap();
    RawResponse(String::from_utf8_lossy(&response).into_owned())
}

fn calls(running: &Running) -> u64 {
    let stats = Backend::ALL.map(|backend| running.mocks().stats(backend).calls);
    stats.iter().sum()
}
