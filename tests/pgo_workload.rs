//! What `deploy/pgo` asks a gateway before it optimises it is answered: it would be optimised for refusals else.

use fleet::Callers;
use serde_json::Value;

use crate::support::{TestFleet, file};

/// One request of a `pgo_workload.curl`, of a range its first.
struct Asked {
    path: String,
    body: Option<String>,
    known: bool,
}

/// The requests of a file. What this does not know, `curl` might read otherwise.
fn asked(text: &str) -> Vec<Asked> {
    let mut all = Vec::new();
    let (mut body, mut known) = (None, false);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line == "next" {
            (body, known) = (None, false);
            continue;
        }
        let (name, value) = line.split_once(" = ").unwrap();
        // Quotes and escapes are those of JSON.
        let value: String = serde_json::from_str(value).unwrap();
        match name {
            "header" if value == "CREDENTIAL" => known = true,
            "header" => assert_eq!(value, "Content-Type: application/json"),
            "data" => body = Some(value),
            "url" => {
                let (sent, _) = value.split_once('#').unwrap_or((&value, ""));
                let path = sent.splitn(4, '/').nth(3).unwrap();
                all.push(Asked {
                    path: format!("/{}", first_of_ranges(path)),
                    body: body.clone(),
                    known,
                });
            }
            other => panic!("{other} is not understood"),
        }
    }
    all
}

/// `p-[1-300]` is `p-1`.
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
async fn every_gateway_is_trained_by_what_it_answers() {
    let fleet = TestFleet::start().await;
    let bearer = fleet.bearer("ada");
    for gateway in fleet::GATEWAYS {
        let (gateway, callers) = (gateway.name, gateway.callers());
        let text = file(&format!("bffs/{gateway}/pgo_workload.curl")).unwrap();
        let all = asked(&text);
        assert!(all.len() >= 3, "{gateway}");
        let credential = match callers {
            Callers::Partners => ("x-api-key", fleet::PARTNER_KEY),
            Callers::People => ("authorization", bearer.as_str()),
        };
        for Asked { path, body, known } in all {
            let headers = &[credential][..usize::from(known)];
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
