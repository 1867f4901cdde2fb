//! Checkout at a gateway that is killed with SIGKILL at every step. Another process completes the write, nothing is charged
//! twice, and the response is true. The idempotency store is a real Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bff_core::context::Env;
use parking_lot::Mutex;
use serde_json::{Value, json};
use services_mock::{Backend, CallEvent, Fault, Mocks, Mode, Options};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::{FREE_PORTS, WEB, log_field, write_file};
use test_servers::{Process, RedisServer, request, try_request};

const VALID_CARD: &str = "4111 1111 1111 1111";
const DECLINED_CARD: &str = "4000 0000 0000 0002";
/// The backends that a checkout calls.
const CHECKOUT_BACKENDS: [Backend; 2] = [Backend::Order, Backend::Payment];
/// Longer than the claim of a killed process lasts. Only a failed test waits that long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The moment of a call at which the gateway is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Boundary {
    /// The call was sent, and the backend has not executed it.
    BeforeExecution,
    /// The backend has executed the call, and the gateway has not received the response.
    AfterExecution,
}

/// Kills the gateway at a boundary of its n-th call.
#[derive(Default)]
struct Killer {
    gateway: Mutex<Option<Process>>,
    mocks: Mutex<Option<Mocks>>,
    /// The number of the call, from 1, and the boundary.
    kill_at: Mutex<Option<(usize, Boundary)>>,
    calls: AtomicUsize,
}

impl Killer {
    /// Called by the backend for each event. The backend continues after this returns, when the gateway is dead.
    fn observe(&self, backend: Backend, arrived: bool) {
        if arrived {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        let mut kill_at = self.kill_at.lock();
        let boundary = if arrived {
            Boundary::BeforeExecution
        } else {
            Boundary::AfterExecution
        };
        if *kill_at != Some((self.calls.load(Ordering::Relaxed), boundary)) {
            return;
        }
        *kill_at = None;
        if arrived && let Some(mocks) = &*self.mocks.lock() {
            mocks.set_fault(backend, Fault::mode(Mode::Hang)).unwrap();
        }
        // Dropping the process kills it and waits for its end.
        drop(self.gateway.lock().take());
    }
}

/// The backends of one case, and the gateway processes that use them one after another.
struct Harness {
    name: String,
    mocks: Mocks,
    urls: Vec<(Backend, String)>,
    killer: Arc<Killer>,
    config: String,
    public: String,
}

impl Drop for Harness {
    fn drop(&mut self) {
        // The mocks and the killer reference each other.
        self.killer.mocks.lock().take();
    }
}

impl Harness {
    fn new(runtime: &Runtime, redis: &str, name: &str) -> Self {
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let listeners = [Backend::Auth, Backend::Order, Backend::Payment].map(|b| (b, bind()));
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let urls = listeners.each_ref().map(|(backend, l)| (*backend, url(l)));
        let guard = runtime.enter();
        let mocks = Mocks::new(Options {
            seed: 1,
            issuer: urls[0].1.clone(),
            epoch: Env::real().now().into(),
        });
        drop(guard);
        for (backend, listener) in listeners {
            let never = std::future::pending();
            runtime.spawn(services_mock::serve(
                mocks.clone(),
                backend,
                listener,
                never,
            ));
        }
        let killer = Arc::new(Killer::default());
        *killer.mocks.lock() = Some(mocks.clone());
        let killer_of_mocks = killer.clone();
        let observer = move |backend, _, event: CallEvent<'_>| {
            if CHECKOUT_BACKENDS.contains(&backend) {
                killer_of_mocks.observe(backend, matches!(event, CallEvent::Arrived { .. }));
            }
        };
        mocks.set_observer(observer).unwrap();
        let [auth, order, payment] = urls.each_ref().map(|(_, url)| url);
        let text = format!(
            "mode = 'development'\n{redis}timeout = '2s'\nencryption_keys = ['{}']\n\
             [auth]\nissuer = '{auth}'\naudience = 'bff'\n[auth.jwks]\nurl = '{auth}'\n\
             [upstreams.order]\nurl = '{order}'\n[upstreams.payment]\nurl = '{payment}'\n",
            "A".repeat(43)
        );
        let mut harness = Self {
            name: name.to_owned(),
            mocks,
            urls: urls.to_vec(),
            killer,
            config: write_file(&format!("killed-{name}.toml"), &text),
            public: String::new(),
        };
        harness.call(
            Backend::Order,
            "PUT",
            "/cart/items/p-1",
            r#"{"quantity":2}"#,
        );
        harness.start();
        harness.killer.calls.store(0, Ordering::Relaxed);
        harness
    }

    /// Starts a gateway process. It replaces the one before.
    fn start(&mut self) {
        let mut web = Process::start(WEB, &["--config", &self.config], &FREE_PORTS);
        let log = web.read_until("web-bff is listening");
        log_field(log.last().unwrap(), "listen").clone_into(&mut self.public);
        *self.killer.gateway.lock() = Some(web);
    }

    /// Calls a backend directly.
    fn call(&self, backend: Backend, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (_, url) = self.urls.iter().find(|(b, _)| *b == backend).unwrap();
        let headers = ["x-user-id: ada", "content-type: application/json"].map(str::to_owned);
        let (status, body) = request(method, &format!("{url}{path}"), &headers, body);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Checks out as Ada. Returns `None` if the gateway was killed meanwhile.
    fn check_out(&self, number: &str) -> Option<(u16, Value)> {
        let headers = [
            format!(
                "Authorization: Bearer {}",
                self.mocks.token_for("ada").unwrap()
            ),
            // All cases use the same account and the same Redis, so each case has its own key.
            format!("Idempotency-Key: {}", self.name),
            "Content-Type: application/json".to_owned(),
        ];
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        let url = format!("http://{}/api/checkout", self.public);
        let (status, text) = try_request("POST", &url, &headers, &body.to_string()).ok()?;
        let mut body: Value = serde_json::from_str(&text).unwrap();
        // The id differs for each request.
        body.as_object_mut().unwrap().remove("requestId");
        Some((status, body))
    }

    /// Checks out and retries while the response is `in_progress`.
    fn check_out_until_done(&self, number: &str) -> (u16, Value) {
        let start = Instant::now();
        loop {
            let (status, body) = self.check_out(number).unwrap();
            if body["code"] != "in_progress" {
                return (status, body);
            }
            assert!(start.elapsed() < TIMEOUT, "{}: {body}", self.name);
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// All orders at the backend, newest first.
    fn orders(&self) -> Vec<Value> {
        let (_, orders) = self.call(Backend::Order, "GET", "/orders?limit=50", "");
        orders["items"].as_array().unwrap().clone()
    }

    /// All payments at the backend.
    fn payments(&self) -> Vec<Value> {
        let payment = |n| {
            self.call(
                Backend::Payment,
                "GET",
                &format!("/payments/pay-ada-{n}"),
                "",
            )
        };
        let all = (1..20).map(payment);
        all.take_while(|(status, _)| *status == 200)
            .map(|(_, payment)| payment)
            .collect()
    }

    fn cart_size(&self) -> usize {
        let (_, cart) = self.call(Backend::Order, "GET", "/cart", "");
        cart["items"].as_array().unwrap().len()
    }
}

/// Counts the calls of a checkout without a kill.
fn count_calls(runtime: &Runtime, redis: &str, number: &str, name: &str) -> usize {
    let harness = Harness::new(runtime, redis, name);
    let before = harness.orders().len();
    harness.killer.calls.store(0, Ordering::Relaxed);
    let first = harness.check_out_until_done(number);
    let calls = harness.killer.calls.load(Ordering::Relaxed);
    assert_consistent(&harness, number, &first, before);
    calls
}

/// Asserts that the response matches the state of the backends: paid once, or not at all.
fn assert_consistent(
    harness: &Harness,
    number: &str,
    (status, body): &(u16, Value),
    before: usize,
) {
    let case = format!("{}: {status} {body}", harness.name);
    let (orders, payments) = (harness.orders(), harness.payments());
    assert_eq!(orders.len(), before + 1, "{case}");
    let statuses: Vec<&Value> = payments.iter().map(|payment| &payment["status"]).collect();
    if number == VALID_CARD {
        assert_eq!(*status, 201, "{case}");
        assert_eq!(statuses, ["captured"], "{case}");
        assert_eq!(body["payment"]["id"], payments[0]["id"], "{case}");
        assert_eq!(body["payment"]["status"], "captured", "{case}");
        assert_eq!(body["order"]["id"], orders[0]["id"], "{case}");
        assert_eq!(payments[0]["orderId"], orders[0]["id"], "{case}");
        // The mock ships a paid order automatically.
        let paid = orders[0]["status"] == "paid" || orders[0]["status"] == "shipped";
        assert!(paid, "{case}: {}", orders[0]);
        assert_eq!(harness.cart_size(), 0, "{case}");
    } else {
        assert!(
            statuses.iter().all(|status| *status == "declined"),
            "{case}: {statuses:?}"
        );
        let code = &body["code"];
        assert!(
            code == "payment_declined" || code == "order_cancelled",
            "{case}"
        );
        assert_eq!(body["steps"]["order"], "cancelled", "{case}");
        assert_eq!(body["steps"]["cart"], "restored", "{case}");
        assert_eq!(orders[0]["status"], "cancelled", "{case}");
        assert_eq!(harness.cart_size(), 1, "{case}");
    }
}

/// Kills one gateway during a checkout, and repeats the checkout at another.
fn kill_and_retry(runtime: &Runtime, redis: &str, number: &str, name: &str, at: (usize, Boundary)) {
    let mut harness = Harness::new(runtime, redis, name);
    let before = harness.orders().len();
    harness.killer.calls.store(0, Ordering::Relaxed);
    *harness.killer.kill_at.lock() = Some(at);
    assert_eq!(
        harness.check_out(number),
        None,
        "{name}: the gateway should have been killed"
    );
    assert!(harness.killer.gateway.lock().is_none(), "{name}");
    harness.mocks.clear_faults(None);
    harness.start();
    let response = harness.check_out_until_done(number);
    assert_consistent(&harness, number, &response, before);
    // A third process replays the same response.
    harness.start();
    assert_eq!(harness.check_out_until_done(number), response, "{name}");
    assert_consistent(&harness, number, &response, before);
}

#[test]
fn a_checkout_killed_at_any_step_pays_once_and_reports_the_truth() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let redis = redis.config();
    let runtime = Runtime::new().unwrap();
    // All cases run at the same time, because each waits until the claim of a killed process ends.
    thread::scope(|all| {
        for (number, min_calls) in [(VALID_CARD, 4), (DECLINED_CARD, 5)] {
            let card = if number == VALID_CARD {
                "valid"
            } else {
                "declined"
            };
            let calls = count_calls(&runtime, &redis, number, card);
            assert!(calls >= min_calls, "{card}: {calls} calls");
            for call in 1..=calls {
                for boundary in [Boundary::BeforeExecution, Boundary::AfterExecution] {
                    let (runtime, redis) = (&runtime, &redis);
                    let name = format!("{card}-{boundary:?}-{call}");
                    all.spawn(move || {
                        kill_and_retry(runtime, redis, number, &name, (call, boundary));
                    });
                }
            }
        }
    });
}
