//! A gateway as a process. The web gateway represents all gateways, whose `main` functions are the same. These tests are
//! not in the workspace's `tests/`, because cargo builds a binary only for the tests of its own package.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::net::TcpListener;
use std::path::PathBuf;

use test_servers::{Process, is_listening, request, run, start_stub, try_request};

#[path = "command_line/killed.rs"]
mod killed;

const WEB: &str = env!("CARGO_BIN_EXE_web-bff");
/// Free ports, which the log contains, and no wait at the end.
const FREE_PORTS: [(&str, &str); 3] = [
    ("WEB_SERVER__DRAIN_DELAY", "0s"),
    ("WEB_SERVER__LISTEN", "127.0.0.1:0"),
    ("WEB_SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
];

/// Writes a file for one test into cargo's temporary folder, and returns its path.
fn write_file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The value of a field in a JSON log line.
fn log_field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!(r#""{name}":""#)).unwrap();
    rest.split_once('"').unwrap().0
}

/// Asserts that a start and `--check-config` fail with the same line, which starts with `expected`.
fn assert_rejected(args: &[&str], env: &[(&str, &str)], expected: &str) {
    let env = [&FREE_PORTS[..], env].concat();
    let start = run(WEB, args, &env);
    assert!(
        start.startup_error().starts_with(expected),
        "{}",
        start.startup_error()
    );
    let check = run(WEB, &[args, &["--check-config"]].concat(), &env);
    assert_eq!(check.startup_error(), start.startup_error());
}

#[test]
fn it_serves_with_file_and_variables_until_a_signal() {
    for signal in ["TERM", "INT"] {
        let (url, requests) = start_stub();
        // The variable overrides the file.
        let path = write_file(
            signal,
            "server.public_url = 'https://shop.example'\nupstreams.product.url = 'http://127.0.0.1:1'",
        );
        let env = [&FREE_PORTS[..], &[("WEB_UPSTREAMS__PRODUCT__URL", &url)]].concat();
        let mut web = Process::start(WEB, &["--config", &path], &env);
        let log = web.read_until("web-bff is listening");
        let (public, admin) = (
            log_field(&log[0], "listen"),
            log_field(&log[0], "admin_listen"),
        );
        assert_eq!(
            request("GET", &format!("http://{admin}/readyz"), &[], "").0,
            200
        );
        let (status, problem) = request(
            "GET",
            &format!("http://{public}/api/product-details/p-1"),
            &[],
            "",
        );
        assert_eq!(status, 404, "{problem}");
        assert!(
            problem.contains(r#""https://shop.example/errors/not_found""#),
            "{problem}"
        );
        assert!(requests.recv().unwrap().starts_with("GET /products/p-1"));
        assert_eq!(
            request("GET", &format!("http://{public}/docs/"), &[], "").0,
            404,
            "production is the default"
        );
        let public = public.to_owned();
        assert_eq!(web.stop(signal).code, Some(0), "{signal}");
        assert!(!is_listening(&public));
    }
}

#[test]
fn requests_aborted_at_shutdown_are_logged() {
    const REQUESTS: usize = 20;
    // It accepts connections and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let env = [
        ("WEB_UPSTREAMS__PRODUCT__URL", url.as_str()),
        ("WEB_UPSTREAMS__PRODUCT__ATTEMPT_TIMEOUT", "60s"),
        ("WEB_INBOUND__DEADLINE", "60s"),
        ("WEB_SERVER__DRAIN_TIMEOUT", "100ms"),
    ];
    let mut web = Process::start(WEB, &[], &[&FREE_PORTS[..], &env].concat());
    let log = web.read_until("web-bff is listening");
    let public = log_field(&log[0], "listen").to_owned();
    let clients = (0..REQUESTS).map(|n| {
        let url = format!("http://{public}/api/product-details/p-{n}?fields=product");
        std::thread::spawn(move || try_request("GET", &url, &[], "").is_err())
    });
    let clients: Vec<_> = clients.collect();
    // A request is in flight once its backend call is.
    let _calls: Vec<_> = (0..REQUESTS).map(|_| silent.accept().unwrap()).collect();
    let ended = web.stop("TERM");
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
    let is_aborted = |line: &&String| line.contains(r#""status":499"#);
    assert_eq!(
        ended.out.iter().filter(is_aborted).count(),
        REQUESTS,
        "{ended:#?}"
    );
}

#[test]
fn a_configuration_error_is_one_line_with_key_and_source() {
    let path = write_file("unknown.toml", "[server]\nlisten_on = 'x'");
    assert_rejected(
        &["--config", &path],
        &[],
        &format!("unknown key `server.listen_on` in file {path}: expected one of `listen`, "),
    );
    assert_rejected(
        &["--config", "no/such.toml"],
        &[],
        "cannot read file no/such.toml: ",
    );
    for (name, text, line) in [
        (
            "WEB_INBOUND__DEADLINE",
            "250",
            r#"inbound.deadline = "250" in variable WEB_INBOUND__DEADLINE: a duration needs a unit: "250ms""#,
        ),
        (
            "WEB_INBOUND__DEADLINE",
            "0ms",
            r#"inbound.deadline = "0ms" in variable WEB_INBOUND__DEADLINE: a duration must be more than 0 here"#,
        ),
        (
            "WEB_UPSTREAMS__PRODUCTS__URL",
            "http://a",
            "unknown key `upstreams.products` in variable WEB_UPSTREAMS__PRODUCTS__URL: expected one of ",
        ),
        (
            "WEB_UPSTREAM_DEFAULTS__CIRCUIT_BREAKER__HALF_OPEN_MAX_CALLS",
            "x",
            r#"upstream_defaults.circuit_breaker.half_open_max_calls = "x" in variable WEB_UPSTREAM_DEFAULTS__CIRCUIT_BREAKER__HALF_OPEN_MAX_CALLS: "#,
        ),
        (
            "WEB_UPSTREAMS__PRODUCT__URL",
            "http://ada:hunter2@b",
            "upstreams.product.url in variable WEB_UPSTREAMS__PRODUCT__URL: invalid base URL: ",
        ),
        (
            "WEB_INBOUND__RATE_LIMITS__PER_IP__LIMIT",
            "0",
            "inbound.rate_limits.per_ip in the core defaults and variable WEB_INBOUND__RATE_LIMITS__PER_IP__LIMIT: ",
        ),
        (
            "WEB_SERVER__WORKER_THREADS",
            "0",
            r#"server.worker_threads = "0" in variable WEB_SERVER__WORKER_THREADS: expected a whole number, 1 or more"#,
        ),
        (
            "WEB_AUTH__JWKS_PATH",
            "jwks",
            "auth.jwks_path in variable WEB_AUTH__JWKS_PATH: ",
        ),
        (
            "WEB_INBOUND__CORS_ORIGINS",
            "*",
            "inbound.cors_origins in variable WEB_INBOUND__CORS_ORIGINS: ",
        ),
    ] {
        assert_rejected(&[], &[(name, text)], line);
    }
}

#[test]
fn production_rejects_development_settings() {
    let demo = write_file(
        "demo.toml",
        &format!(
            "[auth.api_keys.demo]\nhash = '{}'\naccount = 'a'",
            "0".repeat(64)
        ),
    );
    let expected = format!("auth.api_keys.demo in file {demo}: refused in production: ");
    assert_rejected(&["--config", &demo], &[], &expected);
    let development = [("WEB_MODE", "development")];
    assert_eq!(
        run(WEB, &["--config", &demo, "--check-config"], &development).code,
        Some(0)
    );
    for (name, text, key) in [
        ("WEB_AUTH__ISSUER", "http://id.example", "auth.issuer"),
        ("WEB_AUTH__JWKS__URL", "http://id.example", "auth.jwks.url"),
        (
            "WEB_SERVER__PUBLIC_URL",
            "http://shop.example",
            "server.public_url",
        ),
    ] {
        assert_rejected(
            &[],
            &[(name, text)],
            &format!("{key} in variable {name}: refused in production: "),
        );
    }
    let remote_admin = [("WEB_SERVER__ADMIN_LISTEN", "0.0.0.0:0")];
    let line = "server.admin_listen in variable WEB_SERVER__ADMIN_LISTEN: refused in production: ";
    assert!(
        run(WEB, &[], &remote_admin)
            .startup_error()
            .starts_with(line)
    );
}

#[test]
fn an_unavailable_port_is_a_one_line_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let env = [FREE_PORTS[0], ("WEB_SERVER__ADMIN_LISTEN", &address)];
    let line = format!("cannot listen on {address}: the address is already in use");
    assert_eq!(run(WEB, &[], &env).startup_error(), line);
}

#[test]
fn it_checks_and_prints_its_configuration() {
    // Kubernetes sets these variables in every pod of a namespace with a Service `web` or `web-bff`.
    let links = [
        ("WEB_SERVICE_HOST", "10.0.0.1"),
        ("WEB_PORT", "tcp://10.0.0.1:80"),
        ("WEB_BFF_SERVICE_PORT_HTTP", "80"),
        ("WEB_BFF_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    let check = run(WEB, &["--check-config"], &links);
    assert_eq!(
        (check.code, check.out.join("\n").as_str()),
        (Some(0), "configuration is valid"),
        "{check:?}"
    );
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let env = [
        ("WEB_AUTH__API_KEYS__ACME__HASH", hash),
        ("WEB_AUTH__API_KEYS__ACME__ACCOUNT", "acme"),
    ];
    let printed = run(WEB, &["--print-config"], &env);
    let text = printed.out.join("\n");
    assert_eq!((printed.code, printed.err.len()), (Some(0), 0), "{text}");
    assert!(!text.contains(hash), "{text}");
    for line in [
        r#"hash = "********" # variable WEB_AUTH__API_KEYS__ACME__HASH"#,
        r#"account = "acme" # variable WEB_AUTH__API_KEYS__ACME__ACCOUNT"#,
        r#"mode = "production" # the core defaults"#,
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn variables_of_others_are_warnings() {
    let variables = [
        ("WEB__BLUE_SERVICE_HOST", "10.0.0.1"),
        ("WEB__BLUE_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("WEB_CONCURRENCY", "hunter2"),
        ("WEB_INBOUD__IDLE", "hunter2"),
    ];
    let warnings = [
        "variable WEB_CONCURRENCY is ignored: its first name is no section or key",
        "variable WEB_INBOUD__IDLE is ignored: did you mean WEB_INBOUND__IDLE?",
    ];
    for option in ["--check-config", "--print-config"] {
        let check = run(WEB, &[option], &variables);
        let expected = warnings.map(|line| format!("warning: {line}"));
        assert_eq!((check.code, &check.err[..]), (Some(0), &expected[..]));
    }
    let mut web = Process::start(WEB, &[], &[&FREE_PORTS[..], &variables].concat());
    let log = web.read_until("web-bff is listening");
    let is_warning = |line: &&String| line.contains(r#""level":"WARN""#);
    let logged: Vec<_> = log.iter().filter(is_warning).collect();
    assert_eq!(logged.len(), warnings.len(), "{log:#?}");
    for (line, warning) in logged.iter().zip(warnings) {
        assert!(line.contains(warning), "{line}");
    }
    assert_eq!(web.stop("TERM").code, Some(0));
}

#[test]
fn help_and_version_succeed_and_an_unknown_option_fails() {
    let help = run(WEB, &["--help"], &[]);
    let text = help.out.join("\n");
    for option in [
        "--config <FILE>",
        "--check-config",
        "--print-config",
        "--help",
        "--version",
    ] {
        assert!(text.contains(option), "{text}");
    }
    let version = run(WEB, &["--version"], &[]);
    assert_eq!(
        version.out,
        [concat!("web-bff ", env!("CARGO_PKG_VERSION"))]
    );
    assert_eq!((help.code, version.code), (Some(0), Some(0)));
    let unknown = run(WEB, &["--confg", "x"], &[]);
    assert_eq!(
        unknown.startup_error(),
        "unexpected argument '--confg' found"
    );
}
