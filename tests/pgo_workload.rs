//! The requests that `deploy/pgo` sends to profile a gateway must succeed; otherwise it would optimise for errors.

use fleet::Callers;
use serde_json::Value;

use crate::support::{TestFleet, file};

/// One request of a `pgo_workload.curl`. Of a range, it is the first request.
struct WorkloadRequest {
    path: String,
    body: Option<String>,
    with_credential: bool,
}

/// Parses the requests of a file. Panics on options that it does not support.
fn parse_workload(text: &str) -> Vec<WorkloadRequest> {
    let mut requests = Vec::new();
    let (mut body, mut with_credential) = (None, false);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line == "next" {
            (body, with_credential) = (None, false);
            continue;
        }
        let (name, value) = line.split_once(" = ").unwrap();
        // curl's quotes and escapes equal JSON's.
        let value: String = serde_json::from_str(value).unwrap();
        match name {
            "header" if value == "CREDENTIAL" => with_credential = true,
            "header" => assert_eq!(value, "Content-Type: application/json"),
            "data" => body = Some(value),
            "url" => {
                let (url, _) = value.split_once('#').unwrap_or((&value, ""));
                let path = url.splitn(4, '/').nth(3).unwrap();
                requests.push(WorkloadRequest {
                    path: format!("/{}", first_of_ranges(path)),
                    body: body.clone(),
                    with_credential,
                });
            }
            other => panic!("unsupported option {other}"),
        }
    }
    requests
}

/// Replaces each range by its first value: `p-[1-300]` becomes `p-1`.
fn first_of_ranges(path: &str) -> String {
    let mut parts = path.split('[');
    let mut first = parts.next().unwrap().to_owned();
    for part in parts {
        let (range, rest) = part.split_once(']').unwrap();
        first += range.split_once('-').unwrap().0;
        first += rest;
    }
    first
}

#[tokio::test]
async fn every_request_of_the_pgo_workloads_succeeds() {
    let fleet = TestFleet::start().await;
    let bearer = fleet.bearer("ada");
    for gateway in fleet::GATEWAYS {
        let (gateway, callers) = (gateway.name, gateway.callers());
        // A new BFF has no workload yet. `deploy/pgo` requires one.
        let Some(text) = file(&format!("bffs/{gateway}/pgo_workload.curl")) else {
            continue;
        };
        let requests = parse_workload(&text);
        assert!(requests.len() >= 3, "{gateway}");
        let credential = match callers {
            Callers::Partners => ("x-api-key", fleet::PARTNER_KEY),
            Callers::People => ("authorization", bearer.as_str()),
        };
        for WorkloadRequest {
            path,
            body,
            with_credential,
        } in requests
        {
            let headers = &[credential][..usize::from(with_credential)];
            let response = match body {
                Some(body) => {
                    let body: Value = serde_json::from_str(&body).unwrap();
                    fleet.post_with(gateway, &path, headers, &body).await
                }
                None => fleet.get_with(gateway, &path, headers).await,
            };
            assert!(
                response.status.is_success(),
                "{gateway} {path}: {}",
                response.body
            );
            assert!(
                response.body.get("errors").is_none(),
                "{path}: {}",
                response.body
            );
        }
    }
}
