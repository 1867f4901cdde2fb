//! Records as a real name server tells them, and what its silence changes.

use std::path::PathBuf;
use std::time::Duration;

use bff_core::discovery::{Config, Kind};

use super::Followed;
use super::free_ports::free_base;
use crate::support::service::{Service, find};

/// A name server for `.test`, which can be stopped and started with other records.
pub(super) struct NameServer {
    program: PathBuf,
    hosts: PathBuf,
    port: u16,
    running: Option<Service>,
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

    /// Starts with these hosts (`address name`), each for `ttl` seconds, and these options.
    pub(super) fn start(&mut self, hosts: &[&str], ttl: u32, options: &[&str]) {
        std::fs::write(&self.hosts, hosts.join("\n")).unwrap();
        let mut args = vec![
            format!("--port={}", self.port),
            format!("--addn-hosts={}", self.hosts.display()),
            format!("--local-ttl={ttl}"),
        ];
        let always = "--no-daemon --no-resolv --no-hosts --conf-file=/dev/null --pid-file= \
            --listen-address=127.0.0.1 --bind-interfaces --log-facility=-";
        args.extend(always.split_whitespace().map(str::to_owned));
        args.extend(options.iter().map(|&option| option.to_owned()));
        self.stop();
        let running = Service::start(self.program.as_os_str(), &args, " names");
        self.running = Some(running);
    }

    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Where it is asked.
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

/// It answers for all of `.test`: what has no record does not exist.
pub(super) const COMPLETE: &str = "--local=/test/";

#[tokio::test]
async fn addresses_follow_their_ttl_and_outlast_the_server() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    let two = [
        "10.0.0.2 alpha.test",
        "10.0.0.1 alpha.test",
        "fd00::1 alpha.test",
    ];
    server.start(&two, 1, &[COMPLETE]);
    // Ever so long intervals: only the TTL can bring the changes below within the test's patience.
    let mut config = server.config(Kind::Dns, None);
    config.max_interval = Duration::from_secs(3600);
    let mut followed = Followed::new(&config);
    assert!(followed.following.initial().wait().await);
    let both = ["10.0.0.1:3005 1 -", "10.0.0.2:3005 1 -"];
    assert_eq!(followed.next().await, both);
    server.start(&["fd00::1 alpha.test"], 1, &[COMPLETE]);
    assert_eq!(followed.next().await, ["[fd00::1]:3005 1 -"]);
    // Refused is no answer, and neither is silence: the next that is heard of is what comes after them.
    server.start(&[], 1, &[]);
    server.stop();
    server.start(&["10.0.0.3 alpha.test"], 1, &[COMPLETE]);
    assert_eq!(followed.next().await, ["10.0.0.3:3005 1 -"]);
    // "No such name" is one.
    server.start(&[], 1, &[COMPLETE]);
    assert_eq!(followed.next().await, [""; 0]);
}

#[tokio::test]
async fn a_ttl_of_an_hour_is_bounded_and_nothing_is_cached_besides() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    server.start(&["10.0.0.1 alpha.test"], 3600, &[COMPLETE]);
    let mut config = server.config(Kind::Dns, Some("alpha.test"));
    config.max_interval = Duration::from_millis(100);
    let mut followed = Followed::new(&config);
    assert_eq!(followed.next().await, ["10.0.0.1:3005 1 -"]);
    server.start(&["10.0.0.2 alpha.test"], 3600, &[COMPLETE]);
    assert_eq!(followed.next().await, ["10.0.0.2:3005 1 -"]);
}

#[tokio::test]
async fn an_alias_is_followed_and_a_long_answer_comes_over_tcp() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    let many: Vec<String> = (0..300)
        .map(|n| format!("10.0.{}.{} many.test", n / 100, n % 100))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.start(&many, 60, &[COMPLETE, "--cname=alias.test,many.test"]);
    let mut followed = Followed::new(&server.config(Kind::Dns, Some("alias.test")));
    assert_eq!(followed.next().await.len(), 300);
}

#[tokio::test]
async fn services_have_ports_weights_and_priorities() {
    let Some(mut server) = NameServer::find() else {
        return;
    };
    let name = "_http._tcp.alpha.test";
    let records = [
        "--srv-host=_http._tcp.alpha.test,a.test,3001,10,60",
        "--srv-host=_http._tcp.alpha.test,b.test,3002,10,0",
        "--srv-host=_http._tcp.alpha.test,c.test,3003,20,5",
        COMPLETE,
    ];
    let hosts = ["10.0.0.1 a.test", "10.0.0.2 b.test", "10.0.0.3 c.test"];
    server.start(&hosts, 1, &records);
    let mut config = server.config(Kind::Srv, Some(name));
    config.max_interval = Duration::from_millis(200);
    let mut followed = Followed::new(&config);
    let first = ["10.0.0.1:3001 60 -", "10.0.0.2:3002 1 -"];
    assert_eq!(followed.next().await, first);
    // Nobody of the first priority is left.
    server.start(&hosts[2..], 1, &records);
    assert_eq!(followed.next().await, ["10.0.0.3:3003 5 -"]);
    server.stop();
    server.start(&hosts, 1, &records);
    assert_eq!(followed.next().await, first);
    // A target of "." says that there is no such service.
    server.start(&hosts, 1, &["--srv-host=_http._tcp.alpha.test", COMPLETE]);
    assert_eq!(followed.next().await, [""; 0]);
}
