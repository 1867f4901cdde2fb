//! The table of prefixes, what a path becomes at the backend, and the lines that mistakes become.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::GatewayHandles;
use crate::context::Env;
use crate::outbound;

fn opened(text: &str) -> Result<Table, String> {
    let configs: Configs = toml::from_str(text).unwrap();
    let shared = GatewayHandles::in_process("test", Env::real());
    let at = outbound::Config::at("http://backend".parse().unwrap());
    let shared = Arc::new(shared);
    let upstream = Upstream::new("alpha", &at, &shared).unwrap();
    let around = RouteContext {
        trusted: Vec::new(),
        max_body_bytes: 1000,
        leaving: CancellationToken::new(),
        shared,
    };
    open(&configs, &BTreeMap::from([("alpha", upstream)]), around)
}

const TWO: &str = r#"
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
async fn the_longest_prefix_answers_segment_by_segment() {
    let table = opened(TWO).unwrap();
    for (path, template, at_the_backend) in [
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
        assert_eq!(found.rewritten(path), at_the_backend, "{path}");
    }
    for nowhere in ["/", "/api", "/api/ab", "/api/c", "//c", "/C", "/%63", ""] {
        assert!(table.find(nowhere).is_none(), "{nowhere}");
    }
}

#[tokio::test]
async fn a_mistake_is_one_line_that_begins_with_its_key() {
    let unknown = TWO.replacen("\"alpha\"", "\"beta\"", 1);
    let line = opened(&unknown).unwrap_err();
    assert_eq!(
        line,
        "routes.a.upstream: \"beta\" is no HTTP backend of this gateway, which are alpha"
    );
    let twice = TWO.replace("/api/a/b", "/api/b");
    let line = opened(&twice).unwrap_err();
    assert!(
        line.starts_with("routes.b.prefixes: \"/api/b\" stands twice"),
        "{line}"
    );
    let method = TWO.replace("[c]", "[c]\nmethods = [\"BREW\"]");
    let line = opened(&method).unwrap_err();
    assert!(
        line.starts_with("routes.c.methods: \"BREW\" is none of GET"),
        "{line}"
    );
}

#[tokio::test]
async fn get_brings_head_and_a_body_has_the_gateways_bound() {
    let table = opened(TWO).unwrap();
    let route = &table.find("/c").unwrap().route;
    assert_eq!(route.allow.as_ref().unwrap(), "GET, HEAD");
    assert_eq!(route.terms().max_body_bytes, 1000);
}
