//! `cargo run`: every line of the table, and the shutdown. These tests are not in the workspace's `tests/`, because cargo
//! builds a binary only for the tests of its own package.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::net::TcpListener;

use test_servers::{Process, free_base, is_listening, request, run, start_stub};

const FLEET: &str = env!("CARGO_BIN_EXE_fleet");
const LAST_LINE: &str = "Press Ctrl-C to stop.";

/// One command of the table: method, URL, headers, body.
type Curl = (String, String, Vec<String>, String);

/// Splits a command line into words. Quotes group characters, as in a shell.
fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in text.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ' ' => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words
}

fn parse_curl(command: &str) -> Curl {
    let mut words = split_words(command).into_iter();
    let (mut method, mut url, mut headers, mut body) = (None, None, Vec::new(), String::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "curl" | "-s" => {}
            "-X" => method = words.next(),
            "-H" => headers.extend(words.next()),
            "-d" => body = words.next().unwrap(),
            _ => assert_eq!(url.replace(word), None, "{command}"),
        }
    }
    let default_method = if body.is_empty() { "GET" } else { "POST" };
    (
        method.unwrap_or(default_method.to_owned()),
        url.unwrap(),
        headers,
        body,
    )
}

fn send((method, url, headers, body): &Curl) -> String {
    let (status, text) = request(method, url, headers, body);
    assert!(
        (200..300).contains(&status),
        "{method} {url}: {status} {text}"
    );
    text
}

/// Runs every command of the table, with its token and its key. Returns the requested URLs.
fn run_every_command(table: &[String]) -> Vec<String> {
    let login = table
        .iter()
        .find_map(|l| l.strip_prefix("TOKEN=$("))
        .unwrap();
    let (login, _) = login.split_once(" | ").unwrap();
    let token_response = send(&parse_curl(login));
    let (_, token) = token_response.split_once(r#""access_token":""#).unwrap();
    let (token, _) = token.split_once('"').unwrap();
    let key = table.iter().find_map(|l| l.strip_prefix("KEY=")).unwrap();
    let mut urls = Vec::new();
    let lines = table.iter().filter(|line| !line.starts_with("TOKEN="));
    for command in lines.flat_map(|line| line.split("; ")) {
        let Some(at) = command.find("curl ") else {
            continue;
        };
        let command = command[at..].replace("$TOKEN", token).replace("$KEY", key);
        let curl = parse_curl(&command);
        let text = send(&curl);
        assert!(!text.contains(r#""errors":["#), "{command}: {text}");
        urls.push(curl.1);
    }
    urls
}

#[test]
fn every_line_of_the_table_works_and_sigterm_stops_the_fleet() {
    let base = free_base();
    let mut fleet = Process::start(FLEET, &["--base-port", &base.to_string()], &[]);
    let table = fleet.read_until(LAST_LINE);
    let urls = run_every_command(&table);
    // At least one for each gateway, the sign-in, and two for faults.
    assert!(urls.len() >= fleet::GATEWAYS.len() + 3, "{urls:#?}");
    for gateway in fleet::GATEWAYS {
        let url = format!("http://127.0.0.1:{}/", base + gateway.number());
        let has_command = urls.iter().any(|u| u.starts_with(&url));
        assert!(has_command, "{url}: {urls:#?}");
    }
    for (offset, page) in [
        (0, "/docs"),
        (3, "/docs"),
        (0, "/graphiql"),
        (10, "/readyz"),
        (13, "/metrics"),
        (12, "/config"),
    ] {
        let url = format!("http://127.0.0.1:{}", base + offset);
        assert!(
            table
                .iter()
                .any(|line| line.contains(&format!("{url}{page}"))),
            "{url}{page} is not in the table"
        );
        let page = if page == "/docs" { "/docs/" } else { page };
        let (status, text) = request("GET", &format!("{url}{page}"), &[], "");
        assert_eq!(status, 200, "{url}{page}: {text}");
    }
    assert_eq!(fleet.stop("TERM").code, Some(0));
    assert!(!is_listening(&format!("127.0.0.1:{base}")));
}

#[test]
fn selected_gateways_call_a_real_backend_and_ctrl_c_stops_them() {
    let base = free_base();
    let (url, requests) = start_stub();
    let args = [
        "--base-port",
        &base.to_string(),
        "--only",
        "web,tv",
        "--real",
        &format!("product={url}"),
    ];
    let mut fleet = Process::start(FLEET, &args, &[]);
    let table = fleet.read_until(LAST_LINE).join("\n");
    for (offset, name, runs) in [
        (0, "web", true),
        (1, "mobile", false),
        (2, "tv", true),
        (3, "partner", false),
    ] {
        assert_eq!(
            is_listening(&format!("127.0.0.1:{}", base + offset)),
            runs,
            "{name}"
        );
        assert_eq!(table.contains(&format!("\n{name} ")), runs, "{table}");
    }
    assert!(
        !is_listening(&format!("127.0.0.1:{}", base + 22)),
        "the product mock should not run"
    );
    let page = format!("http://127.0.0.1:{base}/api/product-details/p-1");
    let (status, text) = request("GET", &page, &[], "");
    assert_eq!(status, 404, "{text}");
    assert!(
        requests
            .iter()
            .any(|line| line.starts_with("GET /products/p-1 "))
    );
    assert_eq!(fleet.stop("INT").code, Some(0));
}

#[test]
fn an_unavailable_port_is_a_one_line_error() {
    let base = free_base();
    let _listener = TcpListener::bind(("127.0.0.1", base + 2)).unwrap();
    let ended = run(FLEET, &["--base-port", &base.to_string()], &[]);
    assert_eq!(
        ended.startup_error(),
        format!(
            "cannot listen on 127.0.0.1:{}: the address is already in use",
            base + 2
        )
    );
}

#[test]
fn invalid_arguments_are_rejected() {
    let base = free_base().to_string();
    let error_line = |args: &[&str], env: &[(&str, &str)]| {
        let args = [&["--base-port", &base], args].concat();
        run(FLEET, &args, env).startup_error().to_owned()
    };
    let names: Vec<&str> = fleet::GATEWAYS.iter().map(|g| g.name).collect();
    let line = error_line(&["--only", "web,nosuch"], &[]);
    assert_eq!(
        line,
        format!(
            "unknown gateway `nosuch`; the gateways are {}",
            names.join(", ")
        )
    );
    let line = error_line(&[], &[("PARTNER_MODE", "production")]);
    assert!(
        line.starts_with("partner: auth.api_keys.demo in the overlay: refused in production: "),
        "{line}"
    );
    let line = error_line(&[], &[("WEB_SERVER__LISTEN", "127.0.0.1:1")]);
    assert!(line.starts_with("web: WEB_SERVER__LISTEN "), "{line}");
    let duplicate = ["--real", "product=http://a", "--real", "product=http://b"];
    assert_eq!(error_line(&duplicate, &[]), "duplicate --real for product");
    for (args, start) in [
        (
            ["--real", "product=localhost:3002"],
            "invalid value 'product=localhost:3002' for '--real <BACKEND=URL>': the URL must start with",
        ),
        (
            ["--real", "prices=http://a"],
            "invalid value 'prices=http://a' for '--real <BACKEND=URL>': ",
        ),
        (
            ["--base-port", "70000"],
            "invalid value '70000' for '--base-port <N>': ",
        ),
        (["--ports", "1"], "unexpected argument '--ports' found"),
        (
            ["--only", "--real"],
            "a value is required for '--only <NAMES>' but none was supplied",
        ),
    ] {
        let line = run(FLEET, &args, &[]).startup_error().to_owned();
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn help_lists_every_option() {
    let help = run(FLEET, &["--help"], &[]);
    assert_eq!((help.code, help.err.len()), (Some(0), 0));
    let text = help.out.join("\n");
    for option in ["--base-port <N>", "--only <NAMES>", "--real <BACKEND=URL>"] {
        assert!(text.contains(option), "{text}");
    }
}
