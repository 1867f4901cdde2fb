//! Secrets come from files, and leave by `expose` only.

use std::path::PathBuf;

use super::*;

#[test]
fn a_secret_comes_from_a_file() {
    on_disk("key", "  s3cret\n", |path| {
        let path = path.to_str().unwrap();
        let config = try_load(&Given {
            file: Some("[session]\nkey = 'weaker'\n"),
            env: &[
                ("WEB_SESSION__KEY_FILE", path),
                ("WEB_KEYS__ALICE_FILE", path),
                ("WEB_UPSTREAMS__ALPHA__TOKEN_FILE", path),
            ],
            ..Given::default()
        });
        let config = config.unwrap();
        assert_eq!(config.session.as_ref().unwrap().key.expose(), "s3cret");
        assert_eq!(config.keys["alice"].expose(), "s3cret");
        assert_eq!(
            config.upstreams["alpha"].token.as_ref().unwrap().expose(),
            "s3cret"
        );
        assert_eq!(
            refused_env(&[("WEB_SESSION__KEY", "x"), ("WEB_SESSION__KEY_FILE", path)]),
            "variables WEB_SESSION__KEY and WEB_SESSION__KEY_FILE set the same key: keep one"
        );
        assert_eq!(
            refused_env(&[("WEB_EDGE__SHIFT_FILE", path)]),
            "edge.shift in the file of variable WEB_EDGE__SHIFT_FILE: expected a whole number, found a text"
        );
    });
}

#[test]
fn a_key_really_named_file_is_that_key() {
    let config = with_env(&[
        ("WEB_SESSION__CA_FILE", "/etc/ca.pem"),
        ("WEB_SESSION__KEY", "k"),
    ]);
    assert_eq!(
        config.session.unwrap().ca_file,
        Some(PathBuf::from("/etc/ca.pem"))
    );
    let config = try_load(&Given {
        file: Some("[keys]\nroot_file = 'a'\n"),
        env: &[("WEB_KEYS__ROOT_FILE", "b")],
        ..Given::default()
    });
    assert_eq!(config.unwrap().keys["root_file"].expose(), "b");
}

#[test]
fn a_bad_secret_file_names_its_variable_and_no_content() {
    let line = refused_env(&[("WEB_SESSION__KEY_FILE", "hunter2")]);
    assert!(
        line.starts_with("cannot read the file of variable WEB_SESSION__KEY_FILE: No such file"),
        "{line}"
    );
    assert!(!line.contains("hunter2"), "{line}");
    on_disk("empty", " \n", |path| {
        let line = refused_env(&[("WEB_SESSION__KEY_FILE", path.to_str().unwrap())]);
        assert_eq!(line, "the file of variable WEB_SESSION__KEY_FILE is empty");
    });
    // Nothing would read it, so the file is not even opened.
    let line = refused_env(&[
        ("WEB_SESSION__KYE_FILE", "/no/such"),
        ("WEB_SESSION__KEY", "k"),
    ]);
    assert!(
        line.starts_with("unknown variable WEB_SESSION__KYE_FILE: no key `session.kye_file`"),
        "{line}"
    );
}

#[test]
fn a_secret_is_never_shown() {
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
    ] {
        let line = refused_file(text);
        assert!(!line.contains("271828"), "{line}");
    }
    assert_eq!(
        refused_file("session.key = 271828"),
        "session.key in file web.toml: expected a secret: a text in quotes, found a whole number"
    );
}
