//! What `cargo run` prints: where everything is, and what to try.

use std::fmt::Write;

use services_mock::Backend;

use crate::gateways::GATEWAYS;
use crate::overlay::PARTNER_KEY;
use crate::running::Running;

/// What to try first at one gateway: a path, and the options of `curl` it needs.
struct Try {
    gateway: &'static str,
    path: &'static str,
    also: &'static str,
}

/// One or two lines a gateway.
const TRIES: [Try; 8] = [
    first("web", "/api/product-details/p-1"),
    Try {
        gateway: "web",
        path: "/graphql",
        also: r#" -H 'Content-Type: application/json' -d '{"query":"{ me { profile { name } } }"}' -H "Authorization: Bearer $TOKEN""#,
    },
    first("mobile", "/v1/home"),
    first("mobile", "/v1/products/p-1?fields=product"),
    first("tv", "/v1/browse"),
    first("tv", "/v1/titles/p-1"),
    partner("/v2/products"),
    partner("/v2/availability?ids=p-1,p-2"),
];

const fn first(gateway: &'static str, path: &'static str) -> Try {
    let also = "";
    Try {
        gateway,
        path,
        also,
    }
}

const fn partner(path: &'static str) -> Try {
    Try {
        gateway: "partner",
        path,
        also: r#" -H "X-API-Key: $KEY""#,
    }
}

/// The table of a running fleet, with a final newline.
pub fn table(running: &Running) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("{:<9}{:<24}{}", "client", "url", "try"));
    for gateway in GATEWAYS.iter().filter(|g| running.has(g.name)) {
        let url = running.url(gateway.name);
        let tries = TRIES.iter().filter(|t| t.gateway == gateway.name);
        for (number, Try { path, also, .. }) in tries.enumerate() {
            let (name, shown) = match number {
                0 => (gateway.name, url.as_str()),
                _ => ("", ""),
            };
            line(format_args!(
                "{name:<9}{shown:<24}curl -s '{url}{path}'{also}"
            ));
        }
        let docs = format!(
            "{url}/docs (reference), {}",
            running.admin_url(gateway.name)
        );
        line(format_args!("{:33}{docs} (operators)", ""));
    }
    line(format_args!(""));
    if running.is_mocked(Backend::Auth) {
        let auth = running.backend_url(Backend::Auth);
        line(format_args!(
            "users    ada, ben (customers), kim (child), root (admin); password demo"
        ));
        line(format_args!(
            r#"TOKEN=$(curl -s {auth}/login -H 'Content-Type: application/json' -d '{{"username":"ada","password":"demo"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')"#
        ));
    }
    if running.has("partner") {
        line(format_args!("KEY={PARTNER_KEY}"));
    }
    let control = running.control_url();
    line(format_args!(
        "faults   curl -s -X PUT {control}/faults/review -H 'Content-Type: application/json' -d '{{\"status\":503}}'; curl -s -X DELETE {control}/faults"
    ));
    line(format_args!("\nCtrl-C stops it all."));
    text
}
