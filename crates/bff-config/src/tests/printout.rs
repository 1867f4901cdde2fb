//! The output of `--print-config`.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn the_printout_is_toml_with_the_source_of_each_key() {
    let layers = Layers {
        overlay: Some("edge.host = 'overlay'"),
        env: &[
            ("WEB_INBOUND__DEADLINE", "90s"),
            ("WEB_SESSION__KEY", "k"),
            // Ignored.
            ("WEB_EDGE", "nginx"),
            ("WEB_FOO", "1"),
            ("WEB_FOO__BAR", "2"),
            ("WEB__EDGE__HOST", "h"),
        ],
        ..Layers::default()
    };
    let sources = sources(&layers, None);
    let config: Config = load(&sources).unwrap();
    assert_eq!(
        print_with_sources(&config, &sources).unwrap(),
        r#"mode = "production" # the core defaults
# discovery is not set

[edge]
host = "overlay" # the overlay
body_limit_bytes = 65536 # the core defaults
origins = ["https://one.example"] # the gateway's defaults
compress = true # the gateway's defaults
ratio = 0.5 # the gateway's defaults
shift = -1 # the gateway's defaults
ports = []

[inbound]
deadline = "1m 30s" # variable WEB_INBOUND__DEADLINE
# idle is not set

[session]
key = "********" # variable WEB_SESSION__KEY
older = []
# ca is not set
# ca_file is not set
# store is not set

[upstreams.alpha]
url = "http://defaults" # the gateway's defaults
# token is not set

[keys]
"#
    );
}

#[test]
fn an_invalid_value_names_key_and_source() {
    let layers = Layers {
        env: &[("WEB_EDGE__HOST", "0.0.0.0")],
        ..Layers::default()
    };
    let sources = sources(&layers, None);
    assert_eq!(
        sources.invalid("edge.host", "why").to_string(),
        "edge.host in variable WEB_EDGE__HOST: why"
    );
    assert_eq!(
        sources.invalid("edge.ports", "why").to_string(),
        "edge.ports: why"
    );
    // A section has the sources of all its keys.
    assert_eq!(
        sources.invalid("edge", "why").to_string(),
        "edge in the core defaults and the gateway's defaults and variable WEB_EDGE__HOST: why"
    );
}

proptest! {
    /// The printout of any texts and names is TOML, and reads back as the same configuration.
    #[test]
    fn the_printout_reads_back(
        host in "\\PC{0,20}|[\\x00-\\x7f]{0,20}", name in "\\PC{1,10}", url in "\\PC*",
        origins in prop::collection::vec("\\PC{0,10}", 0..4), shift: i16, ratio in -1e30_f64..1e30, millis: u32,
    ) {
        let mut config = with_env(&[]);
        config.edge = Edge { host, origins, ratio, shift, ..config.edge };
        config.inbound.idle = Some(Duration::from_millis(millis.into()));
        config.upstreams.insert(name, Upstream { url, token: None });
        let printed = print(&config);
        let again = try_load(&Layers { overlay: Some(&printed), ..Layers::default() });
        prop_assert_eq!(again.map(|again| print(&again)), Ok(printed));
    }
}
