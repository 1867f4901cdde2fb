//! What `[upstream_defaults]` hands down, and who wins over it.

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
    #[serde(with = "crate::config::duration")]
    open_for: Duration,
    probes: u32,
}

fn layers<'a>(overlay: Option<&'a str>, env: &[(&str, &str)]) -> Sources<'a> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        prefix: "WEB",
        defaults: DEFAULTS,
        overlay,
        file: None,
        env: env.collect(),
    }
}

fn loaded(overlay: Option<&str>, env: &[(&str, &str)]) -> Result<Gateway, String> {
    load(&layers(overlay, env)).map_err(|error| error.to_string())
}

/// Attempts and the breaker's two keys, of one backend.
fn of(gateway: &Gateway, name: &str) -> (u32, u64, u32) {
    let backend = &gateway.upstreams[name];
    (
        backend.attempts,
        backend.breaker.open_for.as_secs(),
        backend.breaker.probes,
    )
}

#[test]
fn single_keys_are_overridden_and_all_others_inherited() {
    let gateway = loaded(None, &[]).unwrap();
    assert_eq!(of(&gateway, "alpha"), (2, 10, 3));
    assert_eq!(of(&gateway, "beta"), (2, 10, 1));
}

#[test]
fn the_nearer_word_counts_in_whatever_layer_it_is_said() {
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
fn variables_win_over_both() {
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
fn the_printout_says_what_is_inherited_and_from_where() {
    let env = [("WEB_UPSTREAM_DEFAULTS__ATTEMPTS", "5")];
    let sources = layers(None, &env);
    let gateway: Gateway = load(&sources).unwrap();
    let printed = print_with_sources(&gateway, &sources).unwrap();
    let beta = printed.split_once("[upstreams.beta]\n").unwrap().1;
    assert_eq!(
        beta,
        r#"url = "http://beta" # the compiled-in defaults
attempts = 5 # variable WEB_UPSTREAM_DEFAULTS__ATTEMPTS
# token is not set

[upstreams.beta.breaker]
open_for = "10s" # upstream_defaults in the compiled-in defaults
probes = 1 # the compiled-in defaults
"#
    );
}

#[test]
fn a_key_that_nobody_knows_is_refused_wherever_it_is_said() {
    let line = loaded(Some("[upstream_defaults.breaker]\nodd = 1"), &[]).unwrap_err();
    assert_eq!(
        line,
        "unknown key `upstreams.alpha.breaker.odd` in upstream_defaults in the overlay: expected one of `open_for`, `probes`"
    );
    let line = loaded(None, &[("WEB_UPSTREAM_DEFAULTS__ODD", "1")]).unwrap_err();
    assert!(
        line.starts_with("unknown variable WEB_UPSTREAM_DEFAULTS__ODD"),
        "{line}"
    );
    let line = loaded(None, &[("WEB_UPSTREAM_DEFAULTS__ATTEMPTS", "many")]).unwrap_err();
    assert!(
        line.contains("variable WEB_UPSTREAM_DEFAULTS__ATTEMPTS"),
        "{line}"
    );
    let line = loaded(Some("upstream_defaults = 7"), &[]).unwrap_err();
    assert_eq!(line, "upstream_defaults in the overlay: expected a section");
}

#[test]
fn a_secret_from_a_file_is_handed_down_too() {
    on_disk("token", "t0k3n\n", |path| {
        let path = path.display().to_string();
        let env = [("WEB_UPSTREAM_DEFAULTS__TOKEN_FILE", path.as_str())];
        let gateway = loaded(None, &env).unwrap();
        for backend in gateway.upstreams.values() {
            assert_eq!(backend.token.as_ref().unwrap().expose(), "t0k3n");
        }
    });
}
