//! Keys and values that have a new name or were removed. An old name is refused with a line that contains the new one.
//!
//! A row applies once no type reads the old name.

use super::layers::{Table, find};

/// The section whose tables are the settings of one gateway's screens and actions.
const SCREENS: &str = "screens";

/// Keys that were removed, each with the reason. Such a key is refused with a line that says so.
const REMOVED: &[(&str, &str)] = &[(
    "inbound.load_shedding.concurrency_limit.initial",
    "the limit starts at max",
)];

/// For each section its old and new names. A section is written by its new name; `*` stands for any name. `upstream`
/// stands for each section that configures a backend: `upstreams.*`, `upstream_defaults` and `auth.jwks`. A section
/// that is a key with a value lists the old and new values.
const RENAMED: &[(&str, &[(&str, &str)])] = &[
    (
        "server",
        &[
            ("head_timeout", "header_read_timeout"),
            ("threads", "worker_threads"),
            ("admin_beyond_loopback", "admin_allow_remote"),
        ],
    ),
    (
        "inbound",
        &[
            ("client_address_from", "client_ip_header"),
            ("limits", "rate_limits"),
            ("shed", "load_shedding"),
        ],
    ),
    (
        "inbound.load_shedding",
        &[("limit", "concurrency_limit"), ("shares", "class_limits")],
    ),
    (
        "inbound.load_shedding.concurrency_limit",
        &[("tolerance", "latency_tolerance")],
    ),
    ("inbound.rate_limits", &[("address", "per_ip")]),
    ("inbound.rate_limits.policies", &[("passed", "proxied")]),
    (
        "inbound.rate_limits.policies.*",
        &[
            ("of", "applies_to"),
            ("by", "key_by"),
            ("away", "on_store_failure"),
        ],
    ),
    (
        "inbound.rate_limits.policies.*.applies_to",
        &[("doors", "endpoints"), ("passed", "proxied")],
    ),
    (
        "inbound.rate_limits.policies.*.on_store_failure",
        &[("closed", "fail_closed")],
    ),
    (
        "inbound.rate_limits.policies.*.algorithm",
        &[
            ("leaky_meter", "token_bucket"),
            ("leaky_queue", "leaky_bucket_queue"),
        ],
    ),
    (
        "inbound.rate_limits.policies.*.adaptive",
        &[
            ("failing", "failure_ratio"),
            ("least", "min_fraction"),
            ("step", "recovery_step"),
            ("minimum", "min_samples"),
        ],
    ),
    (
        "store",
        &[
            ("sealing_keys", "encryption_keys"),
            ("pause", "retry_interval"),
        ],
    ),
    (
        "auth",
        &[
            ("keys", "jwks"),
            ("keys_path", "jwks_path"),
            ("keys_max_age", "jwks_max_age"),
            ("keys_min_interval", "jwks_min_refresh_interval"),
            ("verified_tokens", "token_cache_size"),
        ],
    ),
    (
        "cache",
        &[
            ("max_renewals", "max_background_revalidations"),
            ("share_calls", "coalesce_requests"),
        ],
    ),
    ("cache.shared", &[("wait", "lease_wait")]),
    (
        "upstream",
        &[
            ("hopeless", "deadline_filter"),
            ("budget", "retry_budget"),
            ("balance", "load_balancing"),
            ("ejection", "outlier_detection"),
            ("breaker", "circuit_breaker"),
        ],
    ),
    (
        "upstream.deadline_filter",
        &[("quantile", "min_latency_quantile")],
    ),
    (
        "upstream.retry_budget",
        &[
            ("max_saved", "max_tokens"),
            ("reserve", "min_retries"),
            ("reserve_refill", "min_retries_refill"),
        ],
    ),
    (
        "upstream.latency",
        &[("half", "half_window"), ("minimum_samples", "min_samples")],
    ),
    (
        "upstream.load_balancing",
        &[
            ("zone_healthy", "zone_min_healthy"),
            ("decay", "ewma_decay"),
        ],
    ),
    (
        "upstream.outlier_detection",
        &[
            ("base", "base_ejection_time"),
            ("longest", "max_ejection_time"),
            ("max_share", "max_ejection_ratio"),
            ("tolerance", "success_rate_tolerance"),
        ],
    ),
    (
        "upstream.circuit_breaker",
        &[
            ("open_for", "open_duration"),
            ("max_open", "max_open_duration"),
            ("probes", "half_open_max_calls"),
            ("closes_after", "half_open_successes"),
            ("failure_ratio", "failure_rate_threshold"),
            ("slow_ratio", "slow_call_rate_threshold"),
            ("slow_call", "slow_call_threshold"),
            ("minimum_calls", "min_calls"),
        ],
    ),
    ("upstream.discovery.kind", &[("fixed", "static")]),
    (
        "routes.*",
        &[
            ("idle", "idle_timeout"),
            ("kept_body_bytes", "retry_buffer_bytes"),
            ("credentials", "forward_credentials"),
            ("upgrade", "websocket"),
            ("host", "host_header"),
            ("old_format", "v1_format"),
            ("public", "allow_anonymous"),
        ],
    ),
];

/// The reason why a key was removed. `None`: it never existed, or exists.
pub(crate) fn removed(key: &str) -> Option<&'static str> {
    let row = REMOVED.iter().find(|(removed, _)| *removed == key)?;
    Some(row.1)
}

/// The path with the new name of its last key or value. `None`: the name is not an old one.
pub(crate) fn new_path<'a>(path: &[&'a str]) -> Option<Vec<&'a str>> {
    let (name, section) = path.split_last()?;
    let canonical = match section {
        ["upstreams", _, rest @ ..]
        | ["upstream_defaults", rest @ ..]
        | ["auth", "jwks", rest @ ..] => [&["upstream"], rest].concat(),
        _ => section.to_vec(),
    };
    let matches = |pattern: &str| {
        let pattern: Vec<&str> = pattern.split('.').collect();
        let mut pairs = pattern.iter().zip(&canonical);
        pattern.len() == canonical.len() && pairs.all(|(one, key)| *one == "*" || one == key)
    };
    let (_, names) = RENAMED.iter().find(|(pattern, _)| matches(pattern))?;
    let (_, new) = names.iter().find(|(old, _)| old == name)?;
    Some([section, &[new]].concat())
}

/// The new path of a screen's settings, which used to be a section of the root: `[browse]` is `[screens.browse]`.
/// `None`: this gateway has no such section. A gateway's defaults set each section of its screens.
pub(crate) fn screen_section<'a>(tree: &Table, path: &[&'a str]) -> Option<Vec<&'a str>> {
    let [name] = path else {
        return None;
    };
    let new = vec![SCREENS, *name];
    find(tree, &new).is_some().then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_from_its_section() {
        for (section, names) in RENAMED {
            let section = match section.strip_prefix("upstream") {
                Some(rest) => format!("upstreams.alpha{rest}"),
                None => section.replace('*', "some"),
            };
            let section: Vec<&str> = section.split('.').collect();
            for (old, new) in *names {
                let path = [&section[..], &[*old]].concat();
                let expected = [&section[..], &[*new]].concat();
                assert_eq!(new_path(&path), Some(expected));
            }
            // A section of the table has no old name itself.
            for end in 1..=section.len() {
                assert_eq!(new_path(&section[..end]), None, "{section:?}");
            }
        }
    }

    #[test]
    fn no_new_name_is_an_old_one_of_its_section() {
        for (section, names) in RENAMED {
            let is_old = |new: &str| names.iter().any(|(old, _)| *old == new);
            assert!(!names.iter().any(|(_, new)| is_old(new)), "{section}");
        }
    }

    #[test]
    fn every_table_of_a_backend_has_the_same_names() {
        for section in ["upstreams.alpha", "upstream_defaults", "auth.jwks"] {
            let path: Vec<&str> = section.split('.').chain(["breaker"]).collect();
            let new = new_path(&path).unwrap().join(".");
            assert_eq!(new, format!("{section}.circuit_breaker"));
        }
    }
}
