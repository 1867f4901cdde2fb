//! DNS records from a real name server, and its failures.

use std::path::PathBuf;
use std::time::Duration;

use bff_core::discovery::{Config, Kind};

use super::WatchedBackend;
use test_servers::free_base;
use test_servers::{Process, find};

/// A name server for `.test`, which a test can restart with other records.
pub(super) struct NameServer {
    program: PathBuf,
    hosts: PathBuf,
    port: u16,
    running: Option<Process>,
}

impl NameServer {
    pub(super) fn find() -> Option<Self> {
        let program = find("dnsmasq", "DNSMASQ_BIN")?;
        let port = free_base();
        let hosts = format!("hosts-{}-{port}", std::process::id());
        Some(Self {
            program,
            hosts: std::env::temp_dir().join(hosts),
            port,
            running: None,
        })
    }

    /// Starts with these hosts (`address name`), this TTL in seconds and these options.
    pub(super) fn start(&mut self, hosts: &[&str], ttl: u32, options: &[&str]) {
        std::fs::write(&self.hosts, hosts.join("\n")).unwrap();
        let mut args = vec![
            format!("--port={}", self.port),
            format!("--addn-hosts={}", self.hosts.display()),
            format!("--local-ttl={ttl}"),
        ];
        let fixed_args = "--no-daemon --no-resolv --no-hosts --conf-file=/dev/null --pid-file= \
            --listen-address=127.0.0.1 --bind-interfaces --log-facility=-";
        args.extend(fixed_args.split_whitespace().map(str::to_owned));
        args.extend(options.iter().map(|&option| option.to_owned()));
        self.stop();
        let running = Process::start_server(&self.program, &args, " names");
        self.running = Some(running);
    }

    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// The address of the name server.
    pub(super) fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn config(&self, kind: Kind, name: Option<&str>) -> Config {
        Config {
            kind,
            name: name.map(str::to_owned),
            nameserver: Some(self.address()),
            min_interval: Duration::from_millis(20),
            ..Config::default()
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        std::fs::remove_file(&self.hosts).ok();
    }
}

/// The server is authoritative for `.test`: a name without a record does not exist.
pub(super) const AUTHORITATIVE: &str = "--local=/test/";

#[tokio::test]
async fn addresses_follow_their_ttl_and_survive_the_server() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    let hosts_ = [
        "10.0.0.2 alpha.test",
        "10.0.0.1 alpha.test",
        "fd00::1 alpha.test",
    ];
    server.start(&hosts_, 1, &[AUTHORITATIVE]);
    // With this interval, only the TTL can cause the updates below.
    let mut config = server.config(Kind::Dns, None);
    config.max_interval = Duration::from_secs(3600);
    let mut backend = WatchedBackend::new(&config);
    assert!(backend.handle.initial().wait().await);
    let expected = ["10.0.0.1:3005 1 -", "10.0.0.2:3005 1 -"];
    assert_eq!(backend.next().await, expected);
    server.start(&["fd00::1 alpha.test"], 1, &[AUTHORITATIVE]);
    assert_eq!(backend.next().await, ["[fd00::1]:3005 1 -"]);
    // REFUSED and timeouts cause no update. The next update has the new address.
    server.start(&[], 1, &[]);
    server.stop();
    server.start(&["10.0.0.3 alpha.test"], 1, &[AUTHORITATIVE]);
    assert_eq!(backend.next().await, ["10.0.0.3:3005 1 -"]);
    // NXDOMAIN removes all instances.
    server.start(&[], 1, &[AUTHORITATIVE]);
    assert_eq!(backend.next().await, [""; 0]);
}

#[tokio::test]
async fn max_interval_limits_a_long_ttl() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    server.start(&["10.0.0.1 alpha.test"], 3600, &[AUTHORITATIVE]);
    let mut config = server.config(Kind::Dns, Some("alpha.test"));
    config.max_interval = Duration::from_millis(100);
    let mut backend = WatchedBackend::new(&config);
    assert_eq!(backend.next().await, ["10.0.0.1:3005 1 -"]);
    server.start(&["10.0.0.2 alpha.test"], 3600, &[AUTHORITATIVE]);
    assert_eq!(backend.next().await, ["10.0.0.2:3005 1 -"]);
}

#[tokio::test]
async fn aliases_and_responses_over_tcp_are_supported() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    let many: Vec<String> = (0..300)
        .map(|n| format!("10.0.{}.{} many.test", n / 100, n % 100))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.start(&many, 60, &[AUTHORITATIVE, "--cname=alias.test,many.test"]);
    let mut backend = WatchedBackend::new(&server.config(Kind::Dns, Some("alias.test")));
    assert_eq!(backend.next().await.len(), 300);
}

#[tokio::test]
async fn srv_records_have_ports_weights_and_priorities() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    let name = "_http._tcp.alpha.test";
    let records = [
        "--srv-host=_http._tcp.alpha.test,a.test,3001,10,60",
        "--srv-host=_http._tcp.alpha.test,b.test,3002,10,0",
        "--srv-host=_http._tcp.alpha.test,c.test,3003,20,5",
        AUTHORITATIVE,
    ];
    let hosts = ["10.0.0.1 a.test", "10.0.0.2 b.test", "10.0.0.3 c.test"];
    server.start(&hosts, 1, &records);
    let mut config = server.config(Kind::Srv, Some(name));
    config.max_interval = Duration::from_millis(200);
    let mut backend = WatchedBackend::new(&config);
    let first = ["10.0.0.1:3001 60 -", "10.0.0.2:3002 1 -"];
    assert_eq!(backend.next().await, first);
    // All instances of the first priority are gone.
    server.start(&hosts[2..], 1, &records);
    assert_eq!(backend.next().await, ["10.0.0.3:3003 5 -"]);
    server.stop();
    server.start(&hosts, 1, &records);
    assert_eq!(backend.next().await, first);
    // A target of "." means that the service does not exist (RFC 2782).
    server.start(
        &hosts,
        1,
        &["--srv-host=_http._tcp.alpha.test", AUTHORITATIVE],
    );
    assert_eq!(backend.next().await, [""; 0]);
}
