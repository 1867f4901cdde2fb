//! Tests of the configuration.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_incomplete_configuration_is_an_error() {
    let shared = shared(Net::Tcp);
    let error = |edit: fn(&mut Config)| {
        let mut config = config();
        edit(&mut config);
        Authenticator::new(&config, &shared).unwrap_err()
    };
    assert!(error(|c| c.issuer = None).starts_with("issuer is missing"));
    assert!(error(|c| c.audience = None).starts_with("audience is missing"));
    assert!(error(|c| c.jwks = None).starts_with("jwks.url is missing"));
    assert!(error(|c| c.algorithms.clear()).starts_with("algorithms is empty"));
    assert!(error(|c| c.token_type.clear()).starts_with("token_type is empty"));
    assert!(error(|c| c.jwks_path = "jwks".into()).starts_with("jwks_path"));
}

#[test]
fn the_configuration_is_parsed_as_documented() {
    let text = r#"
        issuer = "http://localhost:3000"
        audience = "gateway"
        jwks = { url = "http://localhost:3000" }
        algorithms = ["ES256"]
        leeway = "5s"
        [api_keys.demo]
        hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        account = "acme"
    "#;
    let sources = bff_config::Sources {
        prefix: "T",
        defaults: text,
        env: vec![("T_ALGORITHMS".into(), "RS256,ES256".into())],
        ..Default::default()
    };
    let config: Config = bff_config::load(&sources).unwrap();
    assert_eq!(config.leeway, seconds(5));
    assert_eq!(config.token_type, "at+jwt");
    assert_eq!(config.jwks_max_age, seconds(600));
    assert_eq!(config.algorithms, [Algorithm::RS256, Algorithm::ES256]);
    assert!(!config.api_keys["demo"].disabled);
    let printed = serde_json::to_string(&config).unwrap();
    assert!(!printed.contains("ba7816bf"), "{printed}");
}
