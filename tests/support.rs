//! A fleet on free ports, and a client that speaks to it.

pub(crate) mod redis;
pub(crate) mod service;
pub(crate) mod tls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleet::{Fleet, Ports, Running};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use services_mock::{Backend, Fault};

pub(crate) mod instance;

/// A fleet of its own for one test.
pub(crate) struct Shop {
    pub(crate) fleet: Running,
    pub(crate) http: Client,
}

/// A gateway's overlay by which it keeps nothing and shares no call, unless it says something of that already: every
/// fault is met then, and every call counts.
pub(crate) fn unkept(mut overlay: String) -> String {
    if !overlay.contains("[cache]") {
        overlay.push_str("\n[cache]\nmax_bytes = 0\ncoalesce_requests = false\n");
    }
    overlay
}

/// One answer, read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Shop {
    /// Starts mocks and gateways on free ports.
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with something changed. Nothing is kept and no call is shared, so that every fault is met and every
    /// call counts, unless the change says otherwise.
    pub(crate) async fn with(change: impl FnOnce(&mut Fleet)) -> Self {
        let mut wanted = Fleet {
            ports: Ports::Free,
            seed: 1,
            ..Fleet::default()
        };
        change(&mut wanted);
        for gateway in fleet::GATEWAYS {
            let name = gateway.name.to_owned();
            let overlay = wanted.overlays.remove(&name).unwrap_or_default();
            wanted.overlays.insert(name, unkept(overlay));
        }
        Self {
            fleet: fleet::start(wanted).await.unwrap(),
            http: client(),
        }
    }

    /// A fleet whose breakers never open: each fault shows as what it is, however often it is met.
    pub(crate) async fn unbroken() -> Self {
        Self::with(|fleet| {
            for gateway in fleet::GATEWAYS {
                (fleet.overlays).insert(gateway.name.to_owned(), never_opens(gateway));
            }
        })
        .await
    }

    /// Reads one address of a gateway.
    pub(crate) async fn get(&self, gateway: &str, path: &str) -> Answer {
        self.get_with(gateway, path, &[]).await
    }

    /// The same with headers.
    pub(crate) async fn get_with(
        &self,
        gateway: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.http.get(format!("{}{path}", self.fleet.url(gateway)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(send(request).await).await
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, gateway: &str, path: &str, body: &Value) -> Answer {
        self.post_with(gateway, path, &[], body).await
    }

    /// The same with headers.
    pub(crate) async fn post_with(
        &self,
        gateway: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut request = self.http.post(format!("{}{path}", self.fleet.url(gateway)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(send(request.json(body)).await).await
    }

    /// Puts a product into a user's cart, past every gateway.
    pub(crate) async fn fill_cart(&self, user: &str) {
        let url = format!("{}/cart/items/p-1", self.fleet.backend_url(Backend::Order));
        let put = (self.http.put(url))
            .header("x-user-id", user)
            .json(&serde_json::json!({"quantity": 2}));
        assert_eq!(send(put).await.status(), 200);
    }

    /// Fails unless a page that meets a fault is without this section, says so, and is otherwise as it was.
    pub(crate) async fn loses_only(
        &self,
        (gateway, path): (&str, &str),
        headers: &[(&str, &str)],
        section: &str,
        (backend, fault): (Backend, Fault),
    ) {
        let mut whole = self.get_with(gateway, path, headers).await.body;
        self.fleet.mocks().set_fault(backend, fault).unwrap();
        let page = self.get_with(gateway, path, headers).await;
        self.fleet.mocks().clear_faults(Some(backend));
        assert_eq!(page.status, 200, "{}", page.body);
        let told = page.section(section);
        assert_eq!(
            (&told["state"], &told["source"]),
            (&"missing".into(), &backend.name().into())
        );
        assert!(!whole[section].is_null(), "{section} was missing already");
        whole[section] = Value::Null;
        whole["_meta"] = page.body["_meta"].clone();
        assert_eq!(page.body, whole);
        let missing = page.body["_meta"]["sections"].as_object().unwrap().values();
        assert_eq!(missing.filter(|told| told["state"] == "missing").count(), 1);
    }

    /// What an `Authorization` header says of a demo user.
    pub(crate) fn bearer(&self, user: &str) -> String {
        format!("Bearer {}", self.fleet.mocks().token_for(user).unwrap())
    }
}

impl Answer {
    /// One section's entry in `_meta`.
    pub(crate) fn section(&self, name: &str) -> &Value {
        &self.body["_meta"]["sections"][name]
    }

    /// The names of a member's members.
    pub(crate) fn members(&self, of: &str) -> Vec<&str> {
        self.body[of]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect()
    }

    /// A header as text; empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

/// A gateway's configuration in which no breaker opens.
pub(crate) fn never_opens(gateway: &fleet::Gateway) -> String {
    let breaker = "min_calls = 1000000\nconsecutive_failures = 1000000\n";
    let table = |name| format!("[upstreams.{name}.circuit_breaker]\n{breaker}");
    gateway.upstreams().map(table).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
pub(crate) fn client() -> Client {
    bff_core::auth::install_crypto();
    Client::builder().no_proxy().build().unwrap()
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Response {
    try_send(request).await.unwrap()
}

/// For a request that may not be answered.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
pub(crate) async fn try_send(request: reqwest::RequestBuilder) -> reqwest::Result<Response> {
    request.send().await
}

async fn read(response: Response) -> Answer {
    let status = response.status();
    let headers = response.headers().clone();
    let text = response.bytes().await.unwrap();
    let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
    Answer {
        status,
        headers,
        body,
    }
}

/// Where the repository is.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository, if it is there.
pub(crate) fn file(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// Waits for something to become true, and fails when it does not within half a second.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_millis(500), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a real clock for a real client")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Runs a test that looks at memory in a process of its own, for memory is all tests' together. False in that process,
/// where the test is to go on.
pub(crate) fn passes_alone(test: &str) -> bool {
    let is_alone = std::env::args().any(|arg| arg == test);
    if !is_alone {
        let program = std::env::current_exe().unwrap();
        let mut alone = std::process::Command::new(program);
        let ran = alone.args(["--exact", test]).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
    !is_alone
}

/// How much memory this process holds.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
