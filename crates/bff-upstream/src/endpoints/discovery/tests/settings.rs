//! Valid and invalid `discovery` tables of a backend.

use serde::Deserialize;

use super::*;
use bff_config::{Sources, load};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    discovery: Config,
}

fn read(text: &'static str, env: &[(&str, &str)]) -> Result<Config, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let sources = Sources {
        prefix: "T",
        defaults: text,
        env: env.iter().map(owned).collect(),
        ..Sources::default()
    };
    let root: Root = load(&sources).map_err(|error| error.to_string())?;
    Ok(root.discovery)
}

/// The error line for a table that is well-formed but invalid.
fn watch_error(text: &'static str) -> String {
    let config = read(text, &[]).unwrap();
    let on_change = |_: &[Endpoint]| panic!("no endpoints are reported");
    let result = watch("alpha", &url(), &config, &Env::real(), on_change);
    result.unwrap_err()
}

#[test]
fn every_kind_reads_its_keys() {
    let static_list = read(
        "[discovery]\nendpoints = [{ address = 'a:1' }, { address = 'b:1', weight = 2, zone = 'z' }]",
        &[],
    )
    .unwrap();
    assert_eq!(static_list.kind, Kind::Static);
    let list = static_list.static_endpoints().unwrap();
    assert_eq!(list[0], at("a:1"));
    assert_eq!((list[1].weight, list[1].zone.as_deref()), (2, Some("z")));
    let srv = read(
        "[discovery]\nkind = 'srv'\nname = '_http._tcp.a'\nnameserver = '127.0.0.1:53'\nmax_interval = '5s'",
        &[],
    )
    .unwrap();
    assert_eq!(
        (srv.kind, srv.max_interval),
        (Kind::Srv, Duration::from_secs(5))
    );
    assert_eq!(srv.nameserver.unwrap().port(), 53);
    let text =
        "[discovery]\nkind = 'consul'\nname = 'a'\n[discovery.consul]\nurl = 'http://c:8500'";
    let env = [
        ("T_DISCOVERY__CONSUL__TOKEN", "s3cret"),
        ("T_DISCOVERY__CONSUL__TAGS", "x,y"),
    ];
    let consul = read(text, &env).unwrap();
    let agent = consul.consul.as_ref().unwrap();
    assert_eq!(agent.token.as_ref().unwrap().expose(), "s3cret");
    assert_eq!((agent.tags.len(), agent.zone_key.as_str()), (2, "zone"));
    let printed = format!("{consul:?}{}", serde_json::to_string(&consul).unwrap());
    assert!(!printed.contains("s3cret"), "{printed}");
    let error = read("[discovery]\nkind = 'eureka'", &[]).unwrap_err();
    assert!(error.contains("discovery.kind"), "{error}");
}

#[tokio::test]
async fn an_invalid_table_is_rejected_with_its_key() {
    crate::clients::trust_roots::install_tls_provider();
    for (text, key) in [
        (
            "[discovery]\nkind = 'dns'\nendpoints = [{ address = 'a:1' }]",
            "endpoints",
        ),
        ("[discovery]\nendpoints = [{ address = 'a' }]", "endpoints"),
        (
            "[discovery]\nendpoints = [{ address = 'a:1', weight = 0 }]",
            "endpoints",
        ),
        ("[discovery]\nname = 'a'", "name"),
        ("[discovery]\nkind = 'srv'", "name"),
        ("[discovery]\nkind = 'dns'\nname = '10.0.0.1'", "name"),
        ("[discovery]\nkind = 'dns'\nname = 'a..b'", "name"),
        ("[discovery]\nkind = 'consul'\nname = 'a'", "consul"),
        (
            "[discovery]\nkind = 'consul'\nconsul = { url = 'http://c' }",
            "name",
        ),
        (
            "[discovery]\nkind = 'consul'\nname = 'a/b'\nconsul = { url = 'http://c' }",
            "name",
        ),
        (
            "[discovery]\nkind = 'consul'\nname = 'a'\nconsul = { url = 'http://c', token = \"s3\\ncret\" }",
            "consul.token",
        ),
        (
            "[discovery]\nkind = 'dns'\nconsul = { url = 'http://c' }",
            "consul",
        ),
        ("[discovery]\nnameserver = '127.0.0.1:53'", "nameserver"),
        ("[discovery]\nmin_interval = '0s'", "min_interval"),
        ("[discovery]\nmin_interval = '2m'", "min_interval"),
        ("[discovery]\ntimeout = '0s'", "timeout"),
    ] {
        let line = watch_error(text);
        assert!(line.starts_with(&format!("{key}: ")), "{text}: {line}");
        assert!(!line.contains('\n') && !line.contains("s3"), "{line}");
    }
}
