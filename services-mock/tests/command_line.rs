//! The mocks as a process. These tests are not in the workspace's `tests/`, because cargo builds a binary only for the
//! tests of its own package.

use std::net::TcpListener;

use services_mock::Backend;
use test_servers::{Process, free_base, is_listening, request, run};

const MOCKS: &str = env!("CARGO_BIN_EXE_services-mock");
/// The start of the last log line of the start-up.
const READY: &str = "services-mock: control on ";

fn get(port: u16, path: &str) -> u16 {
    request("GET", &format!("http://127.0.0.1:{port}{path}"), &[], "").0
}

#[test]
fn all_mocks_respond_and_sigterm_stops_them() {
    let base = free_base();
    let faults = [("MOCK_FAULTS", r#"{"review":{"status":503}}"#)];
    let mut mocks = Process::start(MOCKS, &["--base-port", &base.to_string()], &faults);
    let lines = mocks.read_until(READY);
    for (offset, backend) in (20..).zip(Backend::ALL) {
        let line = format!("services-mock: {backend} on 127.0.0.1:{}", base + offset);
        assert!(lines.contains(&line), "{line}: {lines:#?}");
        assert!(is_listening(&format!("127.0.0.1:{}", base + offset)));
    }
    assert_eq!(get(base + 22, "/products/p-1"), 200);
    assert_eq!(get(base + 25, "/reviews?productId=p-1"), 503);
    let faults = format!("http://127.0.0.1:{}/faults", base + 39);
    assert_eq!(request("DELETE", &faults, &[], "").0 / 100, 2);
    assert_eq!(get(base + 25, "/reviews?productId=p-1"), 200);
    assert_eq!(mocks.stop("TERM").code, Some(0));
}

#[test]
fn one_mock_runs_alone_and_ctrl_c_stops_it() {
    let base = free_base();
    let args = ["--base-port", &base.to_string(), "--only", "product"];
    let mut mocks = Process::start(MOCKS, &args, &[]);
    assert_eq!(mocks.read_until(READY).len(), 2);
    for (offset, backend) in (20..).zip(Backend::ALL) {
        let runs = is_listening(&format!("127.0.0.1:{}", base + offset));
        assert_eq!(runs, backend == Backend::Product, "{backend}");
    }
    assert_eq!(mocks.stop("INT").code, Some(0));
}

#[test]
fn invalid_arguments_are_rejected() {
    let base = free_base();
    let _listener = TcpListener::bind(("127.0.0.1", base + 39)).unwrap();
    let base = base.to_string();
    let base_port = ["--base-port", &base];
    let line = run(MOCKS, &base_port, &[]).startup_error().to_owned();
    assert!(
        line.starts_with("services-mock: cannot listen on 127.0.0.1:"),
        "{line}"
    );
    let line = run(MOCKS, &base_port, &[("MOCK_FAULTS", r#"{"prices":{}}"#)])
        .startup_error()
        .to_owned();
    assert!(
        line.starts_with("services-mock: MOCK_FAULTS (environment): "),
        "{line}"
    );
    for (args, expected) in [
        (["--only", "prices"], "'prices' for '--only <ONLY>'"),
        (["--ports", "1"], "'--ports'"),
        (["--base-port", "x"], "'x' for '--base-port <N>'"),
    ] {
        let line = run(MOCKS, &args, &[]).startup_error().to_owned();
        assert!(
            line.starts_with("services-mock: ") && line.contains(expected),
            "{line}"
        );
    }
}

#[test]
fn help_lists_every_option() {
    let help = run(MOCKS, &["--help"], &[]);
    assert_eq!((help.code, help.err.len()), (Some(0), 0));
    let text = help.out.join("\n");
    for option in [
        "--only <",
        "--base-port <N>",
        "--control-port <PORT>",
        "--host <HOST>",
        "--seed <SEED>",
        "--issuer <URL>",
    ] {
        assert!(text.contains(option), "{option}: {text}");
    }
}
