//! The line for each mistake.

use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[test]
fn an_unknown_key_lists_the_known_ones() {
    assert_eq!(
        file_error("[edge]\nbodylimit = 5\n"),
        "unknown key `edge.bodylimit` in file web.toml: expected one of `host`, `body_limit_bytes`, `origins`, \
         `compress`, `ratio`, `shift`, `ports`"
    );
    assert_eq!(
        file_error("[upstreams.\"a b\"]\nurl = 'x'\nulr = 'x'\n"),
        "unknown key `upstreams.a b.ulr` in file web.toml: expected `url` or `token`"
    );
}

#[test]
fn an_unknown_key_in_a_known_section_is_an_error_in_a_variable() {
    for (name, line) in [
        (
            "WEB_UPSTREAMS__ALPHA__ULR",
            "unknown key `upstreams.alpha.ulr` in variable WEB_UPSTREAMS__ALPHA__ULR: expected `url` or `token`",
        ),
        (
            "WEB_INBOUND__DEADLNE",
            "unknown key `inbound.deadlne` in variable WEB_INBOUND__DEADLNE: expected `deadline` or `idle`",
        ),
        (
            "WEB_INBOUND__",
            "unknown key `inbound.` in variable WEB_INBOUND__: expected `deadline` or `idle`",
        ),
        (
            "WEB_MODE__X",
            "mode in variable WEB_MODE__X: this is a value, not a section",
        ),
    ] {
        assert_eq!(env_error(&[(name, "hunter2")]), line);
    }
    assert_eq!(
        env_error(&[("WEB_MODE", "production"), ("WEB_mode", "production")]),
        "mode in variable WEB_mode: variable WEB_MODE sets the same key"
    );
}

#[test]
fn a_variable_of_no_section_is_a_warning_with_the_nearest_name() {
    let no_section = "its first name is no section or key";
    for (name, reason) in [
        ("WEB_CONCURRENCY", no_section),
        ("WEB_", no_section),
        ("WEB___MODE", no_section),
        ("WEB__BLUE_ADDRESS", no_section),
        ("WEB_PORT", no_section),
        ("WEB_NODE_ENV", no_section),
        ("WEB_UPSTREAM__X", "did you mean WEB_UPSTREAMS__X?"),
        ("WEB_INBOUD__IDLE", "did you mean WEB_INBOUND__IDLE?"),
        ("WEB__INBOUND__IDLE", "did you mean WEB_INBOUND__IDLE?"),
        ("WEB_INBOUND_IDLE", "did you mean WEB_INBOUND__IDLE?"),
        (
            "WEB_UPSTREAM_DEFAULTS_URL",
            "did you mean WEB_UPSTREAM_DEFAULTS__URL?",
        ),
        ("WEB_MODES", "did you mean WEB_MODE?"),
        ("WEB_MDOE", "did you mean WEB_MODE?"),
        ("WEB_EDGE", "write WEB_EDGE__KEY for a key of this section"),
    ] {
        let env = [(name, "hunter2"), ("WEB_EDGE__HOST", "h")];
        assert_eq!(with_env(&env).edge.host, "h");
        let layers = Layers {
            env: &env,
            ..Layers::default()
        };
        assert_eq!(
            unknown_variables::<Config>(&sources(&layers, None)).unwrap(),
            [format!("variable {name} is ignored: {reason}")]
        );
    }
    // Two variables of no section do not disturb each other, and no error or printout contains them.
    with_env(&[("WEB_FOO", "1"), ("WEB_FOO__BAR", "2")]);
    // A variable of a known section, and one of another program, are no warning.
    let layers = Layers {
        env: &[
            ("WEB_SESSION__KEY_FILE", "/x"),
            ("WEB_MODE_FILE", "/x"),
            ("WEBB_X", "1"),
        ],
        ..Layers::default()
    };
    let warnings = unknown_variables::<Config>(&sources(&layers, None)).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn an_unknown_key_is_an_error_in_every_struct() {
    #[derive(Debug, Deserialize)]
    struct Lax {
        #[expect(dead_code, reason = "only read by serde")]
        a: u8,
    }
    let sources = Sources {
        prefix: "X",
        defaults: "a = 1\nb = 2",
        ..Sources::default()
    };
    let error = load::<Lax>(&sources).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown key `b` in the gateway's defaults"
    );
}

#[test]
fn a_wrong_type_names_the_expected_one() {
    for (text, line) in [
        (
            "edge.body_limit_bytes = 'many'",
            "edge.body_limit_bytes = \"many\" in file web.toml: expected a whole number from 0 to 4294967295",
        ),
        (
            "edge.body_limit_bytes = '5'",
            "edge.body_limit_bytes = \"5\" in file web.toml: expected a whole number from 0 to 4294967295",
        ),
        (
            "edge.body_limit_bytes = -5",
            "edge.body_limit_bytes = -5 in file web.toml: expected a whole number from 0 to 4294967295",
        ),
        (
            "edge.body_limit_bytes = 1.5",
            "edge.body_limit_bytes = 1.5 in file web.toml: expected a whole number from 0 to 4294967295",
        ),
        (
            "edge.compress = 1",
            "edge.compress = 1 in file web.toml: expected true or false",
        ),
        (
            "edge.host = true",
            "edge.host = true in file web.toml: expected a string",
        ),
        (
            "edge.origins = 'x'",
            "edge.origins in file web.toml: expected a list",
        ),
        (
            "edge.ports = [80, 70000]",
            "edge.ports[1] in file web.toml: expected a whole number from 0 to 65535",
        ),
        ("edge = 5", "edge in file web.toml: expected a section"),
        (
            "mode = 'prod'",
            "mode = \"prod\" in file web.toml: expected `production` or `development`",
        ),
        (
            "[edge.host]\nx = 1",
            "edge.host in file web.toml: expected a string",
        ),
    ] {
        assert_eq!(file_error(text), line);
    }
    assert_eq!(
        env_error(&[("WEB_EDGE__BODY_LIMIT_BYTES", "64k")]),
        "edge.body_limit_bytes = \"64k\" in variable WEB_EDGE__BODY_LIMIT_BYTES: expected a whole number from 0 to 4294967295"
    );
    assert_eq!(
        env_error(&[("WEB_EDGE__PORTS", "80,x")]),
        "edge.ports[1] in variable WEB_EDGE__PORTS: expected a whole number from 0 to 65535"
    );
}

#[test]
fn a_duration_needs_its_unit() {
    let reason = "a duration needs a unit: \"250ms\"";
    assert_eq!(
        file_error("inbound.deadline = 250"),
        "inbound.deadline = 250 in file web.toml: expected a duration with its unit: \"250ms\""
    );
    assert_eq!(
        file_error("inbound.idle = '250'"),
        format!("inbound.idle = \"250\" in file web.toml: {reason}")
    );
    assert_eq!(
        file_error("inbound.idle = 1.5"),
        "inbound.idle = 1.5 in file web.toml: expected a duration with its unit: \"250ms\""
    );
    assert_eq!(
        env_error(&[("WEB_INBOUND__DEADLINE", "250")]),
        format!("inbound.deadline = \"250\" in variable WEB_INBOUND__DEADLINE: {reason}")
    );
    assert_eq!(
        file_error("inbound.deadline = true"),
        "inbound.deadline = true in file web.toml: expected a duration with its unit: \"250ms\""
    );
    assert_eq!(
        file_error("inbound.deadline = '-1s'"),
        "inbound.deadline = \"-1s\" in file web.toml: a duration is a number and a unit: \"250ms\""
    );
}

#[test]
fn a_missing_key_names_its_variable() {
    assert_eq!(
        file_error("[session]\nstore = 'x'"),
        "missing key `session.key`: set it in a file or as WEB_SESSION__KEY"
    );
}

#[test]
fn a_broken_or_absent_file_is_an_error() {
    let line = file_error("mode = \"production\"\nhunter2 = = 5\n");
    assert!(
        line.starts_with("file web.toml: TOML parse error at line 2, column "),
        "{line}"
    );
    assert!(!line.contains("hunter2"), "{line}");
    let layers = Layers::default();
    let absent = load::<Config>(&sources(&layers, Some(Path::new("no/such.toml")))).unwrap_err();
    assert!(
        absent
            .to_string()
            .starts_with("cannot read file no/such.toml: No such file"),
        "{absent}"
    );
    let overlay = try_load(&Layers {
        overlay: Some("x"),
        ..layers
    })
    .unwrap_err();
    assert!(
        overlay.starts_with("the overlay: TOML parse error at line 1, column "),
        "{overlay}"
    );
}

proptest! {
    /// Any variable and any text give a value or one line, and never a panic.
    #[test]
    fn any_variable_is_a_value_or_one_line(
        name in "WEB_(EDGE|INBOUND|SESSION|UPSTREAMS|MODE|X)?(_{1,3}[A-Z]{0,5}){0,3}(_FILE)?", text in "\\PC{0,20}",
    ) {
        if let Err(line) = try_load(&Layers { env: &[(&name, &text)], ..Layers::default() }) {
            prop_assert!(!line.contains(char::is_control), "{}", line);
        }
    }
}
