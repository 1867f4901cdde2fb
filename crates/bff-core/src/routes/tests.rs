//! Tests the table of prefixes, the rewriting of paths, and the error lines.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::GatewayHandles;
use crate::context::Env;
use crate::outbound;

fn open_table(text: &str) -> Result<Table, String> {
    let configs: Configs = toml::from_str(text).unwrap();
    let shared = GatewayHandles::in_process("test", Env::real());
    let at = outbound::Config::at("http://backend".parse().unwrap());
    let shared = Arc::new(shared);
    let upstream = Upstream::new("alpha", &at, &shared).unwrap();
    let context = RouteContext {
        trusted: Vec::new(),
        max_body_bytes: 1000,
        shutdown: CancellationToken::new(),
        shared,
    };
    open(&configs, &BTreeMap::from([("alpha", upstream)]), context)
}

const ROUTES: &str = r#"
    [a]
    prefixes = ["/api/a", "/api/b"]
    upstream = "alpha"
    strip_prefix = "/api"
    [b]
    prefixes = ["/api/a/b"]
    upstream = "alpha"
    rewrite = "/v2"
    [c]
    prefixes = ["/c"]
    upstream = "alpha"
    [d]
    prefixes = ["/d"]
    upstream = "alpha"
    strip_prefix = "/d"
"#;

#[tokio::test]
async fn the_longest_prefix_of_whole_segments_matches() {
    let table = open_table(ROUTES).unwrap();
    for (path, template, rewritten) in [
        ("/api/a", "/api/a/*", "/a"),
        ("/api/a/", "/api/a/*", "/a/"),
        ("/api/a/1/2", "/api/a/*", "/a/1/2"),
        ("/api/a/bc", "/api/a/*", "/a/bc"),
        ("/api/b/1", "/api/b/*", "/b/1"),
        ("/api/a/b", "/api/a/b/*", "/v2"),
        ("/api/a/b/1", "/api/a/b/*", "/v2/1"),
        ("/c/1", "/c/*", "/c/1"),
        ("/d", "/d/*", "/"),
        ("/d/1", "/d/*", "/1"),
    ] {
        let found = table.find(path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(found.template, template, "{path}");
        assert_eq!(found.rewrite_path(path), rewritten, "{path}");
    }
    for unknown in ["/", "/api", "/api/ab", "/api/c", "//c", "/C", "/%63", ""] {
        assert!(table.find(unknown).is_none(), "{unknown}");
    }
}

#[tokio::test]
async fn a_configuration_error_is_one_line_that_begins_with_its_key() {
    let unknown = ROUTES.replacen("\"alpha\"", "\"beta\"", 1);
    let line = open_table(&unknown).unwrap_err();
    assert_eq!(
        line,
        "routes.a.upstream: unknown upstream \"beta\"; this gateway has alpha"
    );
    let duplicate = ROUTES.replace("/api/a/b", "/api/b");
    let line = open_table(&duplicate).unwrap_err();
    assert_eq!(line, "routes.b.prefixes: duplicate prefix \"/api/b\"");
    let method = ROUTES.replace("[c]", "[c]\nmethods = [\"BREW\"]");
    let line = open_table(&method).unwrap_err();
    assert!(
        line.starts_with("routes.c.methods: unknown method \"BREW\"; allowed are GET"),
        "{line}"
    );
}

#[tokio::test]
async fn get_implies_head_and_the_default_body_limit_is_the_gateways() {
    let table = open_table(ROUTES).unwrap();
    let route = &table.find("/c").unwrap().route;
    assert_eq!(route.allow.as_ref().unwrap(), "GET, HEAD");
    assert_eq!(route.limits().max_body_bytes, 1000);
}
