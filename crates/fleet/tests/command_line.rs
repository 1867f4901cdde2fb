//! `cargo run` as people use it: the table, every line of it, and stopping. Here and not in `tests/`, because cargo
//! builds a binary for the tests of its own package only.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::TcpListener;

use free_ports::free_base;
use process::{Process, is_listening, request, run};
use stub::start_stub;

#[path = "../../../tests/support/free_ports.rs"]
mod free_ports;
#[path = "../../../tests/support/process.rs"]
mod process;
#[path = "../../../tests/support/stub.rs"]
mod stub;

const FLEET: &str = env!("CARGO_BIN_EXE_fleet");
const LAST_LINE: &str = "Ctrl-C stops it all.";

/// One command of the table: method, URL, headers, body.
type Curl = (String, String, Vec<String>, String);

/// The words of a command line: quotes hold them together, and what is in them stays as it is.
fn words(text: &str) -> Vec<String> {
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

fn curl(command: &str) -> Curl {
    let mut words = words(command).into_iter();
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
    let implied = if body.is_empty() { "GET" } else { "POST" };
    (
        method.unwrap_or(implied.to_owned()),
        url.unwrap(),
        headers,
        body,
    )
}

fn answer((method, url, headers, body): &Curl) -> String {
    let (status, text) = request(method, url, headers, body);
    assert!(
        (200..300).contains(&status),
        "{method} {url}: {status} {text}"
    );
    text
}

/// Every command of the table in turn, with the token and the key that the table tells how to get; what was asked.
fn try_everything(table: &[String]) -> Vec<String> {
    let login = table
        .iter()
        .find_map(|l| l.strip_prefix("TOKEN=$("))
        .unwrap();
    let (login, _) = login.split_once(" | ").unwrap();
    let signed_in = answer(&curl(login));
    let (_, token) = signed_in.split_once(r#""access_token":""#).unwrap();
    let (token, _) = token.split_once('"').unwrap();
    let key = table.iter().find_map(|l| l.strip_prefix("KEY=")).unwrap();
    let mut asked = Vec::new();
    let lines = table.iter().filter(|line| !line.starts_with("TOKEN="));
    for command in lines.flat_map(|line| line.split("; ")) {
        let Some(at) = command.find("curl ") else {
            continue;
        };
        let command = command[at..].replace("$TOKEN", token).replace("$KEY", key);
        let curl = curl(&command);
        let text = answer(&curl);
        assert!(!text.contains(r#""errors":["#), "{command}: {text}");
        asked.push(curl.1);
    }
    asked
}

#[test]
fn every_line_of_the_table_works_and_term_stops_it_all() {
    let base = free_base();
    let mut fleet = Process::start(FLEET, &["--base-port", &base.to_string()], &[]);
    let table = fleet.read_until(LAST_LINE);
    let asked = try_everything(&table);
    // At least one for each gateway, the sign-in, and two for faults.
    assert!(asked.len() >= fleet::GATEWAYS.len() + 3, "{asked:#?}");
    for gateway in fleet::GATEWAYS {
        let url = format!("http://127.0.0.1:{}/", base + gateway.number());
        let is_own = |asked: &&String| asked.starts_with(&url);
        assert!(asked.iter().any(|a| is_own(&a)), "{url}: {asked:#?}");
    }
    for (place, page) in [
        (0, "/docs"),
        (3, "/docs"),
        (0, "/graphiql"),
        (10, "/readyz"),
        (13, "/metrics"),
        (12, "/config"),
    ] {
        let url = format!("http://127.0.0.1:{}", base + place);
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
fn a_part_of_it_calls_a_real_backend_and_ctrl_c_stops_it() {
    let base = free_base();
    let (url, asked) = start_stub();
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
    for (place, name, runs) in [
        (0, "web", true),
        (1, "mobile", false),
        (2, "tv", true),
        (3, "partner", false),
    ] {
        assert_eq!(
            is_listening(&format!("127.0.0.1:{}", base + place)),
            runs,
            "{name}"
        );
        assert_eq!(table.contains(&format!("\n{name} ")), runs, "{table}");
    }
    assert!(
        !is_listening(&format!("127.0.0.1:{}", base + 22)),
        "product is faked all the same"
    );
    let page = format!("http://127.0.0.1:{base}/api/product-details/p-1");
    let (status, text) = request("GET", &page, &[], "");
    assert_eq!(status, 404, "{text}");
    assert!(
        asked
            .iter()
            .any(|line| line.starts_with("GET /products/p-1 "))
    );
    assert_eq!(fleet.stop("INT").code, Some(0));
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let base = free_base();
    let _taken = TcpListener::bind(("127.0.0.1", base + 2)).unwrap();
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
fn what_cannot_be_is_refused() {
    let base = free_base().to_string();
    let refused = |args: &[&str], env: &[(&str, &str)]| {
        let args = [&["--base-port", &base], args].concat();
        run(FLEET, &args, env).startup_error().to_owned()
    };
    let names: Vec<&str> = fleet::GATEWAYS.iter().map(|g| g.name).collect();
    let line = refused(&["--only", "web,nosuch"], &[]);
    assert_eq!(
        line,
        format!("there is no gateway `nosuch`, only {}", names.join(", "))
    );
    let line = refused(&[], &[("PARTNER_MODE", "production")]);
    assert!(
        line.starts_with("partner: auth.api_keys.demo in the overlay: refused in production: "),
        "{line}"
    );
    let line = refused(&[], &[("WEB_SERVER__LISTEN", "127.0.0.1:1")]);
    assert!(line.starts_with("web: WEB_SERVER__LISTEN "), "{line}");
    let twice = ["--real", "product=http://a", "--real", "product=http://b"];
    assert_eq!(refused(&twice, &[]), "--real names product twice");
    for (words, begins) in [
        (
            ["--real", "product=localhost:3002"],
            "invalid value 'product=localhost:3002' for '--real <BACKEND=URL>': the URL starts with",
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
        let line = run(FLEET, &words, &[]).startup_error().to_owned();
        assert!(line.starts_with(begins), "{line}");
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
