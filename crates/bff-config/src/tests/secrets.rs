//! Secrets: from files, and never in an output.

use std::path::PathBuf;

use super::*;

#[test]
fn a_secret_comes_from_a_file() {
    on_disk("key", "  s3cret\n", |path| {
        let path = path.to_str().unwrap();
        let config = try_load(&Layers {
            file: Some("[session]\nkey = 'weaker'\n"),
            env: &[
                ("WEB_SESSION__KEY_FILE", path),
                ("WEB_KEYS__ALICE_FILE", path),
                ("WEB_UPSTREAMS__ALPHA__TOKEN_FILE", path),
            ],
            ..Layers::default()
        });
        let config = config.unwrap();
        assert_eq!(config.session.as_ref().unwrap().key.expose(), "s3cret");
        assert_eq!(config.keys["alice"].expose(), "s3cret");
        assert_eq!(
            config.upstreams["alpha"].token.as_ref().unwrap().expose(),
            "s3cret"
        );
        assert_eq!(
            env_error(&[("WEB_SESSION__KEY", "x"), ("WEB_SESSION__KEY_FILE", path)]),
            "session.key in variable WEB_SESSION__KEY_FILE: variable WEB_SESSION__KEY sets the same key"
        );
        assert_eq!(
            env_error(&[("WEB_EDGE__SHIFT_FILE", path)]),
            "edge.shift in variable WEB_EDGE__SHIFT_FILE: expected a whole number"
        );
    });
}

#[test]
fn a_key_named_file_is_no_secret_file() {
    let config = with_env(&[
        ("WEB_SESSION__CA_FILE", "/etc/ca.pem"),
        ("WEB_SESSION__KEY", "k"),
    ]);
    assert_eq!(
        config.session.unwrap().ca_file,
        Some(PathBuf::from("/etc/ca.pem"))
    );
    let config = try_load(&Layers {
        file: Some("[keys]\nroot_file = 'a'\n"),
        env: &[("WEB_KEYS__ROOT_FILE", "b")],
        ..Layers::default()
    });
    assert_eq!(config.unwrap().keys["root_file"].expose(), "b");
}

#[test]
fn an_error_about_a_secret_file_names_its_variable_and_no_content() {
    let line = env_error(&[("WEB_SESSION__KEY_FILE", "hunter2")]);
    assert!(
        line.starts_with(
            "session.key in variable WEB_SESSION__KEY_FILE: cannot read the file: No such"
        ),
        "{line}"
    );
    assert!(!line.contains("hunter2"), "{line}");
    on_disk("empty", " \n", |path| {
        let line = env_error(&[("WEB_SESSION__KEY_FILE", path.to_str().unwrap())]);
        assert_eq!(
            line,
            "session.key in variable WEB_SESSION__KEY_FILE: the file is empty"
        );
    });
    // No key needs this file, so it is not opened.
    let line = env_error(&[
        ("WEB_SESSION__KYE_FILE", "/no/such"),
        ("WEB_SESSION__KEY", "k"),
    ]);
    assert!(
        line.starts_with(
            "unknown key `session.kye_file` in variable WEB_SESSION__KYE_FILE: expected"
        ),
        "{line}"
    );
}

#[test]
fn no_output_contains_a_secret() {
    let config = with_env(&[
        ("WEB_SESSION__KEY", "hunter2"),
        ("WEB_SESSION__OLDER", "hunter2,hunter2b"),
        ("WEB_KEYS__ALICE", "hunter2"),
        ("WEB_UPSTREAMS__ALPHA__TOKEN", "hunter2"),
    ]);
    assert_eq!(
        config.session.as_ref().unwrap().older[1].expose(),
        "hunter2b"
    );
    for shown in [
        format!("{config:?}"),
        format!("{config:#?}"),
        print(&config),
        serde_json::to_string(&config).unwrap(),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("********"), "{shown}");
    }
    for text in [
        "session.key = 271828",
        "session.key = ['271828']",
        "session.key.a = '271828'",
        "session.older = '271828'",
        "session.older = [271828]",
        "session = '271828'",
        "keys = '271828'",
        "keys.alice = 271828",
        "upstreams.alpha.token = 271828",
        "upstreams.alpha.tokne = '271828'",
        "discovery = { kind = 'dns', name = 'a', every_seconds = 1, secret = 271828 }",
        "discovery = { kind = 'dns', name = 'a', every_seconds = '271828' }",
        "edge.shift = 'redis://me:271828@host'",
        "session.key = \"271828",
        "session.key = s271828",
        "session.key = \"\\q271828\"",
        "session.key = 'a' 271828",
        "session.key = '271828'\nsession.key = '271828'",
    ] {
        let line = file_error(text);
        assert!(!line.contains("271828"), "{line}");
    }
    assert_eq!(
        file_error("session.key = 271828"),
        "session.key in file web.toml: expected a secret: a text in quotes"
    );
}
