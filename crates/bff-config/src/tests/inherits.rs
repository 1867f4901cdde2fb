//! The inheritance of `[upstream_defaults]`.

use super::*;

const DEFAULTS: &str = "
[upstream_defaults]
attempts = 2
[upstream_defaults.breaker]
open_for = '10s'
probes = 3
[upstreams.alpha]
url = 'http://alpha'
[upstreams.beta]
url = 'http://beta'
[upstreams.beta.breaker]
probes = 1
";

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Gateway {
    upstreams: BTreeMap<String, Backend>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    url: String,
    attempts: u32,
    breaker: Breaker,
    #[serde(default)]
    token: Option<Secret>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Breaker {
    #[serde(with = "crate::duration")]
    open_for: Duration,
    probes: u32,
}

fn sources_of<'a>(overlay: Option<&'a str>, env: &[(&str, &str)]) -> Sources<'a> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        prefix: "WEB",
        defaults: DEFAULTS,
        overlay,
        env: env.collect(),
        ..Sources::default()
    }
}

fn loaded(overlay: Option<&str>, env: &[(&str, &str)]) -> Result<Gateway, String> {
    load(&sources_of(overlay, env)).map_err(|error| error.to_string())
}

/// The attempts and both keys of the breaker of one backend.
fn of(gateway: &Gateway, name: &str) -> (u32, u64, u32) {
    let backend = &gateway.upstreams[name];
    (
        backend.attempts,
        backend.breaker.open_for.as_secs(),
        backend.breaker.probes,
    )
}

#[test]
fn a_backend_overrides_single_keys_and_inherits_the_others() {
    let gateway = loaded(None, &[]).unwrap();
    assert_eq!(of(&gateway, "alpha"), (2, 10, 3));
    assert_eq!(of(&gateway, "beta"), (2, 10, 1));
}

#[test]
fn a_backends_own_key_wins_in_every_layer() {
    let all = loaded(
        Some("[upstream_defaults.breaker]\nprobes = 7\nopen_for = '20s'"),
        &[],
    )
    .unwrap();
    assert_eq!(
        (of(&all, "alpha"), of(&all, "beta")),
        ((2, 20, 7), (2, 20, 1))
    );
    let one = loaded(Some("[upstreams.alpha.breaker]\nprobes = 7"), &[]).unwrap();
    assert_eq!(
        (of(&one, "alpha"), of(&one, "beta")),
        ((2, 10, 7), (2, 10, 1))
    );
}

#[test]
fn variables_win_in_both_tables() {
    let env = [
        ("WEB_UPSTREAM_DEFAULTS__ATTEMPTS", "5"),
        ("WEB_UPSTREAM_DEFAULTS__BREAKER__OPEN_FOR", "30s"),
        ("WEB_UPSTREAMS__ALPHA__ATTEMPTS", "9"),
        ("WEB_UPSTREAMS__BETA__BREAKER__PROBES", "8"),
    ];
    let gateway = loaded(None, &env).unwrap();
    assert_eq!(
        (of(&gateway, "alpha"), of(&gateway, "beta")),
        ((9, 30, 3), (5, 30, 8))
    );
}

#[test]
fn the_printout_names_the_source_of_inherited_keys() {
    let env = [("WEB_UPSTREAM_DEFAULTS__ATTEMPTS", "5")];
    let sources = sources_of(None, &env);
    let gateway: Gateway = load(&sources).unwrap();
    let printed = print_with_sources(&gateway, &sources).unwrap();
    let beta = printed.split_once("[upstreams.beta]\n").unwrap().1;
    assert_eq!(
        beta,
        r#"url = "http://beta" # the gateway's defaults
attempts = 5 # upstream_defaults in variable WEB_UPSTREAM_DEFAULTS__ATTEMPTS
# token is not set

[upstreams.beta.breaker]
open_for = "10s" # upstream_defaults in the gateway's defaults
probes = 1 # the gateway's defaults
"#
    );
}

#[test]
fn an_error_in_an_inherited_key_names_the_defaults_table() {
    for (overlay, line) in [
        (
            "[upstream_defaults.breaker]\nodd = 1",
            "unknown key `upstream_defaults.breaker.odd` in the overlay: expected `open_for` or `probes`",
        ),
        (
            "[upstream_defaults.breaker]\nprobes = 'x'",
            "upstream_defaults.breaker.probes = \"x\" in the overlay: expected a whole number from 0 to 4294967295",
        ),
        (
            "upstream_defaults = 7",
            "upstream_defaults in the overlay: expected a section",
        ),
        // A mistake in a backend's own key names the backend.
        (
            "[upstreams.beta.breaker]\nodd = 1",
            "unknown key `upstreams.beta.breaker.odd` in the overlay: expected `open_for` or `probes`",
        ),
    ] {
        assert_eq!(loaded(Some(overlay), &[]).unwrap_err(), line);
    }
    for (name, line) in [
        (
            "ODD",
            "unknown key `upstream_defaults.odd` in variable WEB_UPSTREAM_DEFAULTS__ODD: expected one of `url`, \
             `attempts`, `breaker`, `token`",
        ),
        (
            "ATTEMPTS",
            "upstream_defaults.attempts = \"x\" in variable WEB_UPSTREAM_DEFAULTS__ATTEMPTS: expected a whole number \
             from 0 to 4294967295",
        ),
    ] {
        let name = format!("WEB_UPSTREAM_DEFAULTS__{name}");
        assert_eq!(loaded(None, &[(&name, "x")]).unwrap_err(), line);
    }
    // A missing key is missing in the backend.
    let line = loaded(Some("[upstreams.gamma]\nattempts = 1"), &[]).unwrap_err();
    assert!(
        line.starts_with("missing key `upstreams.gamma.url`"),
        "{line}"
    );
}

#[test]
fn an_invalid_inherited_value_names_the_defaults_table() {
    let invalid =
        |overlay| sources_of(overlay, &[]).invalid("upstreams.alpha.breaker.probes", "why");
    for (overlay, line) in [
        (
            None,
            "upstream_defaults.breaker.probes in the gateway's defaults: why",
        ),
        (
            Some("[upstreams.alpha.breaker]\nprobes = 0"),
            "upstreams.alpha.breaker.probes in the overlay: why",
        ),
    ] {
        assert_eq!(invalid(overlay).to_string(), line);
    }
}

#[test]
fn the_defaults_table_is_one_of_the_expected_keys() {
    assert_eq!(
        loaded(Some("nope = 1"), &[]).unwrap_err(),
        "unknown key `nope` in the overlay: expected `upstreams`, `upstream_defaults`"
    );
}

#[test]
fn a_secret_from_a_file_is_inherited_too() {
    on_disk("token", "t0k3n\n", |path| {
        let path = path.display().to_string();
        let env = [("WEB_UPSTREAM_DEFAULTS__TOKEN_FILE", path.as_str())];
        let gateway = loaded(None, &env).unwrap();
        for backend in gateway.upstreams.values() {
            assert_eq!(backend.token.as_ref().unwrap().expose(), "t0k3n");
        }
    });
}

#[test]
fn a_backends_own_secret_wins_over_an_inherited_one() {
    let token = |gateway: &Gateway, of: &str| gateway.upstreams[of].token.clone().unwrap();
    let defaults = "WEB_UPSTREAM_DEFAULTS__TOKEN_FILE";
    on_disk("near", "t0k3n\n", |path| {
        let path = path.display().to_string();
        let own = ("WEB_UPSTREAMS__ALPHA__TOKEN", "own");
        let sources = sources_of(None, &[(defaults, path.as_str()), own]);
        let gateway: Gateway = load(&sources).unwrap();
        assert_eq!(token(&gateway, "alpha").expose(), "own");
        assert_eq!(token(&gateway, "beta").expose(), "t0k3n");
        let printed = print_with_sources(&gateway, &sources).unwrap();
        for line in [
            "token = \"********\" # variable WEB_UPSTREAMS__ALPHA__TOKEN\n",
            "token = \"********\" # upstream_defaults in variable WEB_UPSTREAM_DEFAULTS__TOKEN_FILE\n",
        ] {
            assert!(printed.contains(line), "{printed}");
        }
        let env = [
            ("WEB_UPSTREAM_DEFAULTS__TOKEN", "all"),
            ("WEB_UPSTREAMS__ALPHA__TOKEN_FILE", path.as_str()),
        ];
        let gateway = loaded(None, &env).unwrap();
        assert_eq!(token(&gateway, "alpha").expose(), "t0k3n");
        assert_eq!(token(&gateway, "beta").expose(), "all");
        let both = [
            (defaults, path.as_str()),
            ("WEB_UPSTREAM_DEFAULTS__TOKEN", "all"),
        ];
        assert_eq!(
            loaded(None, &both).unwrap_err(),
            "upstream_defaults.token in variable WEB_UPSTREAM_DEFAULTS__TOKEN_FILE: variable WEB_UPSTREAM_DEFAULTS__TOKEN \
             sets the same key"
        );
    });
}
