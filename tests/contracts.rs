//! Compares the contracts in the repository with the served ones. `UPDATE_CONTRACTS=1 cargo test -p tests contracts`
//! rewrites the files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{LazyLock, Once};

use bff_core::context::Env;
use bff_core::server::App;
use fleet::overlay::{self, Addresses};
use serde_json::Value;
use services_mock::Backend;

use crate::support::{TestFleet, file, root, send};

mod answers;
mod bounds;
mod document;
mod failures;

#[test]
fn the_committed_contracts_equal_the_served_ones() {
    compare_served_contracts();
    // After the OpenAPI files, which define the screens.
    for gateway in fleet::GATEWAYS {
        compare(
            gateway.name,
            "FAILURES.md",
            &failures::document(gateway.name),
        );
    }
}

/// Compares or writes `openapi.json` and `schema.graphql`, once for all tests.
fn compare_served_contracts() {
    static ONCE: Once = Once::new();
    let compare = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(fetch_and_compare());
    };
    // A thread of its own, because a caller may be inside a runtime.
    ONCE.call_once(|| std::thread::spawn(compare).join().unwrap());
}

async fn fetch_and_compare() {
    let fleet = TestFleet::start().await;
    for gateway in fleet::GATEWAYS {
        let url = format!("{}/openapi.json", fleet.running.url(gateway.name));
        let served = send(fleet.http.get(url)).await.text().await.unwrap();
        compare(gateway.name, "openapi.json", &served);
    }
    for gateway in fleet::GATEWAYS {
        if let Some(schema) = build_app(gateway).graphql_schema() {
            compare(gateway.name, "schema.graphql", &schema);
        }
    }
}

/// Builds a gateway as the development fleet configures it.
fn build_app(gateway: &fleet::Gateway) -> App {
    let listen = SocketAddr::from(([127, 0, 0, 1], 80));
    let addresses = Addresses {
        listen,
        admin_listen: listen,
    };
    let urls = Backend::ALL.map(|b| (b, format!("http://{b}")));
    let overlay = overlay::build(gateway, &addresses, &urls.into(), None).unwrap();
    let result = gateway.open(&overlay, Vec::new(), &Env::real());
    result.unwrap().app
}

fn compare(gateway: &str, file: &str, served: &str) {
    let path = root().join("bffs").join(gateway).join(file);
    if should_update() {
        std::fs::write(&path, served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "bffs/{gateway}/{file} is out of date; run UPDATE_CONTRACTS=1 cargo test -p tests contracts"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test, not configuration"
)]
fn should_update() -> bool {
    std::env::var("UPDATE_CONTRACTS").is_ok()
}

/// With `UPDATE_CONTRACTS`, waits until the files are written. Tests that read them call it first.
fn wait_for_update() {
    if should_update() {
        compare_served_contracts();
    }
}

/// The committed `openapi.json` of a gateway.
fn contract(gateway: &str) -> &'static Value {
    static ALL: LazyLock<BTreeMap<&str, Value>> = LazyLock::new(|| {
        wait_for_update();
        let read = |name| {
            let text = file(&format!("bffs/{name}/openapi.json")).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        };
        fleet::GATEWAYS.iter().map(|g| read(g.name)).collect()
    });
    &ALL[gateway]
}

/// Each operation of a contract with its path and method.
fn operations(contract: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = contract["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// Whether the requests of a path go to a backend, which describes and validates them.
fn is_proxy_route(path: &str) -> bool {
    path.ends_with("/{path}")
}
