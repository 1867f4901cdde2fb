//! The precedence of the layers, and the types of variables.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn a_stronger_layer_wins() {
    let overlay =
        Some("[upstreams.alpha]\nurl = 'http://overlay'\n[edge]\nhost = 'overlay'\nshift = 1\n");
    let file = Some("[upstreams.alpha]\nurl = 'http://file'\n[edge]\nhost = 'file'\n");
    let env: &[_] = &[
        ("WEB_UPSTREAMS__ALPHA__URL", "http://env"),
        ("MOBILE_EDGE__HOST", "other"),
        ("PATH", "/"),
    ];
    let config = try_load(&Layers { overlay, file, env }).unwrap();
    assert_eq!(config.upstreams["alpha"].url, "http://env");
    assert_eq!(config.edge.host, "file");
    assert_eq!(config.edge.shift, 1);
    assert_eq!(config.edge.body_limit_bytes, 65536);
    assert_eq!(with_env(&[]).edge.host, "127.0.0.1");
    assert_eq!(with_env(&[]).upstreams["alpha"].url, "http://defaults");
}

#[test]
fn a_list_replaces_and_a_section_merges() {
    let config = try_load(&Layers {
        file: Some("[edge]\norigins = []\n[upstreams.beta]\nurl = 'http://beta'\n"),
        ..Layers::default()
    });
    let config = config.unwrap();
    assert!(config.edge.origins.is_empty());
    assert_eq!(config.upstreams.len(), 2);
}

#[test]
fn a_variable_becomes_the_type_of_its_key() {
    let config = with_env(&[
        ("WEB_MODE", "development"),
        ("WEB_EDGE__BODY_LIMIT_BYTES", "1"),
        ("WEB_EDGE__COMPRESS", "false"),
        ("WEB_EDGE__ORIGINS", "https://a.example, https://b.example"),
        ("WEB_EDGE__PORTS", "80,443"),
        ("WEB_EDGE__RATIO", "1"),
        ("WEB_EDGE__SHIFT", "-7"),
        ("WEB_EDGE__HOST", "12"),
        ("WEB_INBOUND__DEADLINE", "250ms"),
        ("WEB_INBOUND__IDLE", "1m"),
        ("WEB_UPSTREAMS__GAMMA__URL", "http://gamma"),
    ]);
    assert!(!config.mode.is_production());
    assert_eq!(config.edge.body_limit_bytes, 1);
    assert!(!config.edge.compress);
    assert_eq!(
        config.edge.origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(config.edge.ports, [80, 443]);
    assert!((config.edge.ratio - 1.0).abs() < f64::EPSILON);
    assert_eq!(config.edge.shift, -7);
    assert_eq!(config.edge.host, "12");
    assert_eq!(config.inbound.deadline, Duration::from_millis(250));
    assert_eq!(config.inbound.idle, Some(Duration::from_secs(60)));
    assert_eq!(config.upstreams["gamma"].url, "http://gamma");
}

#[test]
fn an_empty_variable_is_none_or_an_empty_list() {
    let config = try_load(&Layers {
        file: Some("[inbound]\nidle = '1m'\n[session]\nkey = 'k'\n"),
        env: &[
            ("WEB_INBOUND__IDLE", ""),
            ("WEB_SESSION", ""),
            ("WEB_EDGE__ORIGINS", ""),
        ],
        ..Layers::default()
    });
    let config = config.unwrap();
    assert_eq!(config.inbound.idle, None);
    assert!(config.session.is_none());
    assert!(config.edge.origins.is_empty());
}

#[test]
fn the_variables_of_kubernetes_services_are_ignored() {
    with_env(&[
        ("WEB_BFF_SERVICE_HOST", "10.0.0.1"),
        ("WEB_BFF_SERVICE_PORT", "80"),
        ("WEB_BFF_SERVICE_PORT_HTTP", "80"),
        ("WEB_BFF_PORT", "tcp://10.0.0.1:80"),
        ("WEB_BFF_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("WEB_BFF_PORT_80_TCP_ADDR", "10.0.0.1"),
    ]);
}

proptest! {
    #[test]
    fn a_list_in_a_variable_has_commas(items in prop::collection::vec("[a-z]{1,5}", 0..5)) {
        let config = with_env(&[("WEB_EDGE__ORIGINS", &items.join(" , "))]);
        prop_assert_eq!(config.edge.origins, items);
    }
}
