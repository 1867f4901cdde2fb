//! The contracts are files in the repository. `UPDATE_CONTRACTS=1 cargo test -p tests contracts` writes them.

use std::net::SocketAddr;

use bff_core::context::Env;
use bff_core::server::App;
use fleet::overlay::{self, Addresses};
use services_mock::Backend;

use crate::support::{Shop, root, send};

mod failures;

#[test]
fn the_committed_contracts_are_what_is_served() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(served());
    // After them, for they say which screens there are.
    for gateway in fleet::GATEWAYS {
        compare(
            gateway.name,
            "FAILURES.md",
            &failures::document(gateway.name),
        );
    }
}

async fn served() {
    let shop = Shop::open().await;
    for gateway in fleet::GATEWAYS {
        let url = format!("{}/openapi.json", shop.fleet.url(gateway.name));
        let served = send(shop.http.get(url)).await.text().await.unwrap();
        compare(gateway.name, "openapi.json", &(served + "\n"));
    }
    for gateway in fleet::GATEWAYS {
        if let Some(schema) = built(gateway).graphql_schema() {
            compare(gateway.name, "schema.graphql", &schema);
        }
    }
}

/// A gateway as the development fleet configures it.
fn built(gateway: &fleet::Gateway) -> App {
    let listen = SocketAddr::from(([127, 0, 0, 1], 80));
    let addresses = Addresses {
        listen,
        admin_listen: listen,
    };
    let urls = Backend::ALL.map(|b| (b, format!("http://{b}")));
    let overlay = overlay::build(gateway, &addresses, &urls.into(), None).unwrap();
    let built = gateway.open(&overlay, Vec::new(), &Env::real());
    built.unwrap().app
}

fn compare(gateway: &str, file: &str, served: &str) {
    let path = root().join("bffs").join(gateway).join(file);
    if update() {
        std::fs::write(&path, served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "bffs/{gateway}/{file} is not what is served; UPDATE_CONTRACTS=1 cargo test -p tests contracts"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own switch, not configuration"
)]
fn update() -> bool {
    std::env::var("UPDATE_CONTRACTS").is_ok()
}
