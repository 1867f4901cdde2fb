//! Old names of keys and values.
#![expect(dead_code, reason = "the tests read errors only")]

use super::*;

const DEFAULTS: &str = "
[inbound.rate_limits.policies.screens]
algorithm = 'leaky_bucket'
limit = 1
[screens.browse]
rows = ['one']
[upstreams.alpha]
";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gateway {
    inbound: Inbound,
    screens: Screens,
    upstreams: BTreeMap<String, Upstream>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Screens {
    browse: Browse,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Browse {
    rows: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inbound {
    rate_limits: RateLimits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimits {
    policies: BTreeMap<String, Policy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    algorithm: Algorithm,
    limit: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Algorithm {
    LeakyBucket,
    SlidingWindow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Upstream {
    #[serde(default)]
    circuit_breaker: Breaker,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Breaker {
    min_calls: u32,
}

fn error(overlay: Option<&str>, env: Option<(&str, &str)>) -> String {
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sources = Sources {
        prefix: "WEB",
        defaults: DEFAULTS,
        overlay,
        env: env.into_iter().collect(),
        ..Sources::default()
    };
    load::<Gateway>(&sources).unwrap_err().to_string()
}

#[test]
fn an_old_key_is_an_error_with_the_new_key() {
    for (overlay, line) in [
        (
            "[inbound.limits.address]\nlimit = 5",
            "inbound.limits in the overlay: this key was renamed to inbound.rate_limits",
        ),
        (
            "[inbound.rate_limits.policies.screens]\nof = 'all'",
            "inbound.rate_limits.policies.screens.of in the overlay: this key was renamed to \
             inbound.rate_limits.policies.screens.applies_to",
        ),
        (
            "[upstreams.alpha.breaker]\nprobes = 1",
            "upstreams.alpha.breaker in the overlay: this key was renamed to upstreams.alpha.circuit_breaker",
        ),
        (
            "[upstreams.alpha.circuit_breaker]\nminimum_calls = 1",
            "upstreams.alpha.circuit_breaker.minimum_calls in the overlay: this key was renamed to \
             upstreams.alpha.circuit_breaker.min_calls",
        ),
        (
            "[upstream_defaults.breaker]\nprobes = 1",
            "upstream_defaults.breaker in the overlay: this key was renamed to upstream_defaults.circuit_breaker",
        ),
    ] {
        assert_eq!(error(Some(overlay), None), line);
    }
    assert_eq!(
        error(None, Some(("WEB_INBOUND__LIMITS__ADDRESS__LIMIT", "5"))),
        "inbound.limits in variable WEB_INBOUND__LIMITS__ADDRESS__LIMIT: this key was renamed to inbound.rate_limits"
    );
}

#[test]
fn a_section_of_a_screen_at_the_root_is_an_error_with_its_new_path() {
    assert_eq!(
        error(Some("[browse]\nrows = ['two']"), None),
        "browse in the overlay: this key was renamed to screens.browse"
    );
    assert_eq!(
        error(None, Some(("WEB_BROWSE__ROWS", "two"))),
        "browse in variable WEB_BROWSE__ROWS: this key was renamed to screens.browse"
    );
    // This gateway has no screen with this section.
    let line = error(Some("[home]\nrows = ['two']"), None);
    assert!(
        line.starts_with("unknown key `home` in the overlay: expected"),
        "{line}"
    );
}

#[test]
fn an_old_name_in_a_map_is_an_error_if_a_key_is_missing() {
    let overlay = "[inbound.rate_limits.policies.passed]\nlimit = 5";
    assert_eq!(
        error(Some(overlay), None),
        "inbound.rate_limits.policies.passed in the overlay: this key was renamed to \
         inbound.rate_limits.policies.proxied"
    );
}

#[test]
fn an_old_value_is_an_error_with_the_new_value() {
    let name = "WEB_INBOUND__RATE_LIMITS__POLICIES__SCREENS__ALGORITHM";
    assert_eq!(
        error(None, Some((name, "leaky_meter"))),
        format!(
            "inbound.rate_limits.policies.screens.algorithm = \"leaky_meter\" in variable {name}: \
             this value was renamed to \"token_bucket\""
        )
    );
}
