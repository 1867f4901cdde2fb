//! What `--print-config` shows.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn the_printout_is_toml_that_names_its_sources() {
    let given = Given {
        overlay: Some("edge.host = 'overlay'"),
        env: &[("WEB_INBOUND__DEADLINE", "90s"), ("WEB_SESSION__KEY", "k")],
        ..Given::default()
    };
    let sources = sources(&given, None);
    let config: Config = load(&sources).unwrap();
    assert_eq!(
        print_with_sources(&config, &sources).unwrap(),
        r#"mode = "production" # the compiled-in defaults
# discovery is not set

[edge]
host = "overlay" # the overlay
body_limit_bytes = 65536 # the compiled-in defaults
origins = ["https://one.example"] # the compiled-in defaults
compress = true # the compiled-in defaults
ratio = 0.5 # the compiled-in defaults
shift = -1 # the compiled-in defaults
ports = []

[inbound]
deadline = "90s" # variable WEB_INBOUND__DEADLINE
# idle is not set

[session]
key = "********" # variable WEB_SESSION__KEY
older = []
# ca is not set
# ca_file is not set
# store is not set

[upstreams.alpha]
url = "http://defaults" # the compiled-in defaults
# token is not set

[keys]
"#
    );
}

#[test]
fn a_refusal_names_key_and_source() {
    let given = Given {
        env: &[("WEB_EDGE__HOST", "0.0.0.0")],
        ..Given::default()
    };
    let sources = sources(&given, None);
    assert_eq!(
        sources.refuse("edge.host", "why").to_string(),
        "edge.host in variable WEB_EDGE__HOST: why"
    );
    assert_eq!(
        sources.refuse("edge.ports", "why").to_string(),
        "edge.ports: why"
    );
    // Of a section everybody who set a part of it.
    assert_eq!(
        sources.refuse("edge", "why").to_string(),
        "edge in the compiled-in defaults and variable WEB_EDGE__HOST: why"
    );
}

proptest! {
    /// Whatever the texts and names are, the printout is TOML that reads back as the same configuration.
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
        let again = try_load(&Given { overlay: Some(&printed), ..Given::default() });
        prop_assert_eq!(again.map(|again| print(&again)), Ok(printed));
    }
}
