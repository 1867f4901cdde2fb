//! Starts a fleet on free ports and sends requests to it over real sockets.

pub(crate) mod tls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleet::{Fleet, Ports, Running};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use services_mock::{Backend, Fault};

pub(crate) mod instance;

/// The mocks and gateways of one test, and an HTTP client.
pub(crate) struct TestFleet {
    pub(crate) running: Running,
    pub(crate) http: Client,
}

/// Disables the cache and single-flight in a gateway's overlay, unless the overlay has a `[cache]` table. Every fault
/// and every call then reaches the backend.
pub(crate) fn without_cache(mut overlay: String) -> String {
    if !overlay.contains("[cache]") {
        overlay.push_str("\n[cache]\nmax_bytes = 0\ncoalesce_requests = false\n");
    }
    overlay
}

/// A response whose body was read. A body that is not JSON is `null`.
pub(crate) struct JsonResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl TestFleet {
    /// Starts mocks and gateways on free ports.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a fleet after `change` edits its options. Caches and single-flight are off, unless `change` configures
    /// them.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Fleet)) -> Self {
        let mut options = Fleet {
            ports: Ports::Free,
            seed: 1,
            ..Fleet::default()
        };
        change(&mut options);
        for gateway in fleet::GATEWAYS {
            let name = gateway.name.to_owned();
            let overlay = options.overlays.remove(&name).unwrap_or_default();
            options.overlays.insert(name, without_cache(overlay));
        }
        Self {
            running: fleet::start(options).await.unwrap(),
            http: client(),
        }
    }

    /// Starts a fleet whose circuit breakers never open, so that no failure is reported as `circuit_open`.
    pub(crate) async fn start_without_circuit_breakers() -> Self {
        Self::start_with(|fleet| {
            for gateway in fleet::GATEWAYS {
                (fleet.overlays).insert(gateway.name.to_owned(), disabled_breakers(gateway));
            }
        })
        .await
    }

    /// Sends a GET to a gateway.
    pub(crate) async fn get(&self, gateway: &str, path: &str) -> JsonResponse {
        self.get_with(gateway, path, &[]).await
    }

    /// Sends a GET with headers to a gateway.
    pub(crate) async fn get_with(
        &self,
        gateway: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> JsonResponse {
        let mut request = self
            .http
            .get(format!("{}{path}", self.running.url(gateway)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(send(request).await).await
    }

    /// Posts JSON to a gateway.
    pub(crate) async fn post(&self, gateway: &str, path: &str, body: &Value) -> JsonResponse {
        self.post_with(gateway, path, &[], body).await
    }

    /// Posts JSON with headers to a gateway.
    pub(crate) async fn post_with(
        &self,
        gateway: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> JsonResponse {
        let mut request = self
            .http
            .post(format!("{}{path}", self.running.url(gateway)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(send(request.json(body)).await).await
    }

    /// Puts a product into a user's cart at the order backend, without a gateway.
    pub(crate) async fn fill_cart(&self, user: &str) {
        let url = format!(
            "{}/cart/items/p-1",
            self.running.backend_url(Backend::Order)
        );
        let put = (self.http.put(url))
            .header("x-user-id", user)
            .json(&serde_json::json!({"quantity": 2}));
        assert_eq!(send(put).await.status(), 200);
    }

    /// Sets a fault, and asserts that the page reports this one section as missing and is otherwise unchanged.
    pub(crate) async fn assert_loses_only(
        &self,
        (gateway, path): (&str, &str),
        headers: &[(&str, &str)],
        section: &str,
        (backend, fault): (Backend, Fault),
    ) {
        let mut expected = self.get_with(gateway, path, headers).await.body;
        self.running.mocks().set_fault(backend, fault).unwrap();
        let page = self.get_with(gateway, path, headers).await;
        self.running.mocks().clear_faults(Some(backend));
        assert_eq!(page.status, 200, "{}", page.body);
        let entry = page.section(section);
        assert_eq!(
            (&entry["state"], &entry["source"]),
            (&"missing".into(), &backend.name().into())
        );
        assert!(
            !expected[section].is_null(),
            "{section} was missing already"
        );
        expected[section] = Value::Null;
        expected["_meta"] = page.body["_meta"].clone();
        assert_eq!(page.body, expected);
        let missing = page.body["_meta"]["sections"].as_object().unwrap().values();
        assert_eq!(
            missing.filter(|entry| entry["state"] == "missing").count(),
            1
        );
    }

    /// The value of the `Authorization` header for a demo user.
    pub(crate) fn bearer(&self, user: &str) -> String {
        format!("Bearer {}", self.running.mocks().token_for(user).unwrap())
    }
}

impl JsonResponse {
    /// One section's entry in `_meta`.
    pub(crate) fn section(&self, name: &str) -> &Value {
        &self.body["_meta"]["sections"][name]
    }

    /// The member names of the object `name` in the body.
    pub(crate) fn members(&self, name: &str) -> Vec<&str> {
        self.body[name]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect()
    }

    /// A header as text; empty if absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

/// A gateway's configuration in which no circuit breaker opens.
pub(crate) fn disabled_breakers(gateway: &fleet::Gateway) -> String {
    let breaker = "min_calls = 1000000\nconsecutive_failures = 1000000\n";
    let table = |name| format!("[upstreams.{name}.circuit_breaker]\n{breaker}");
    gateway.upstreams().map(table).collect()
}

/// A client without trust roots: reading those of the system takes longer than the start of a gateway.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
pub(crate) fn client() -> Client {
    bff_core::auth::install_crypto();
    let builder = Client::builder().no_proxy().tls_certs_only([]);
    builder.build().unwrap()
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Response {
    try_send(request).await.unwrap()
}

/// Sends a request that may get no response.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
pub(crate) async fn try_send(request: reqwest::RequestBuilder) -> reqwest::Result<Response> {
    request.send().await
}

async fn read(response: Response) -> JsonResponse {
    let status = response.status();
    let headers = response.headers().clone();
    let text = response.bytes().await.unwrap();
    let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
    JsonResponse {
        status,
        headers,
        body,
    }
}

/// Whether `ALL_CASES=1` asks for every case and seed. An ordinary run has a selection, so that it is short.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the tests, not configuration"
)]
pub(crate) fn runs_all_cases() -> bool {
    std::env::var_os("ALL_CASES").is_some_and(|value| value == "1")
}

/// The repository's root directory.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads a file of the repository; `None` if it does not exist.
pub(crate) fn file(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

/// Waits until `condition` holds. Panics after ten seconds, which only a failure reaches.
pub(crate) async fn wait_until(mut condition: impl FnMut() -> bool) {
    let wait = tokio::time::timeout(Duration::from_secs(10), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    wait.await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a real clock for a real client")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Runs a test that measures memory in a process of its own, because all tests of one process share its memory.
/// Returns false in the new process, where the test must continue.
pub(crate) fn runs_in_own_process(test: &str) -> bool {
    let is_alone = std::env::args().any(|arg| arg == test);
    if !is_alone {
        let program = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new(program);
        let result = command.args(["--exact", test]).output().unwrap();
        let output = String::from_utf8_lossy(&result.stdout);
        assert!(
            result.status.success() && output.contains("1 passed"),
            "{output}"
        );
    }
    !is_alone
}

/// The resident memory of this process in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
