//! The contracts are files in the repository. `UPDATE_CONTRACTS=1 cargo test -p tests contracts` writes them.

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
    compare(
        "web",
        "schema.graphql",
        &bff_core::graphql::sdl(web_bff::graphql::schema()),
    );
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
