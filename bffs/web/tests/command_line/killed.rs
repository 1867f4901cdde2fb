//! Ordering and paying at a gateway that is killed, SIGKILL and all, at every step: what it began another process ends,
//! nothing is charged twice, and what is told is so. What it remembers lies in a real Redis.

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

use super::process::{Process, request, try_request};
use super::redis::Redis;
use super::{ANYWHERE, WEB, file, member};

const GOOD: &str = "4111 1111 1111 1111";
const BROKE: &str = "4000 0000 0000 0002";
/// What a checkout calls.
const CALLED: [Backend; 2] = [Backend::Order, Backend::Payment];
/// More than a claim outlives whoever held it; reached by failures only.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where in a call its caller is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Boundary {
    /// It was sent, and the backend does nothing of it.
    Before,
    /// It was done, and nobody hears the answer.
    After,
}

/// Which gateway runs, and when it is to be killed: at this boundary of its so-manieth call.
#[derive(Default)]
struct Doom {
    gateway: Mutex<Option<Process>>,
    mocks: Mutex<Option<Mocks>>,
    at: Mutex<Option<(usize, Boundary)>>,
    calls: AtomicUsize,
}

impl Doom {
    /// Told by the backend, which goes on when this returns: whoever was to be killed is dead by then.
    fn sees(&self, backend: Backend, arrived: bool) {
        if arrived {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        let mut at = self.at.lock();
        let now = if arrived {
            Boundary::Before
        } else {
            Boundary::After
        };
        if *at != Some((self.calls.load(Ordering::Relaxed), now)) {
            return;
        }
        *at = None;
        if arrived && let Some(mocks) = &*self.mocks.lock() {
            mocks.set_fault(backend, Fault::mode(Mode::Hang)).unwrap();
        }
        // Dropping it kills it, and waits for its end.
        drop(self.gateway.lock().take());
    }
}

/// Backends of its own, and the gateways that sell what is there, one after another.
struct Till {
    name: String,
    mocks: Mocks,
    urls: Vec<(Backend, String)>,
    doom: Arc<Doom>,
    config: String,
    public: String,
}

impl Drop for Till {
    fn drop(&mut self) {
        // They know each other.
        self.doom.mocks.lock().take();
    }
}

impl Till {
    fn open(runtime: &Runtime, redis: &str, name: &str) -> Self {
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let listeners = [Backend::Auth, Backend::Order, Backend::Payment].map(|b| (b, bind()));
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let urls = listeners.each_ref().map(|(backend, l)| (*backend, url(l)));
        let entered = runtime.enter();
        let mocks = Mocks::new(Options {
            seed: 1,
            issuer: urls[0].1.clone(),
            epoch: Env::real().now().into(),
        });
        drop(entered);
        for (backend, listener) in listeners {
            let never = std::future::pending();
            runtime.spawn(services_mock::serve(
                mocks.clone(),
                backend,
                listener,
                never,
            ));
        }
        let doom = Arc::new(Doom::default());
        *doom.mocks.lock() = Some(mocks.clone());
        let told = doom.clone();
        let witness = move |backend, _, moment: CallEvent<'_>| {
            if CALLED.contains(&backend) {
                told.sees(backend, matches!(moment, CallEvent::Arrived { .. }));
            }
        };
        mocks.watched_by(witness).unwrap();
        let [auth, order, payment] = urls.each_ref().map(|(_, url)| url);
        let text = format!(
            "mode = 'development'\n{redis}timeout = '2s'\nencryption_keys = ['{}']\n\
             [auth]\nissuer = '{auth}'\naudience = 'bff'\n[auth.keys]\nurl = '{auth}'\n\
             [upstreams.order]\nurl = '{order}'\n[upstreams.payment]\nurl = '{payment}'\n",
            "A".repeat(43)
        );
        let mut till = Self {
            name: name.to_owned(),
            mocks,
            urls: urls.to_vec(),
            doom,
            config: file(&format!("killed-{name}.toml"), &text),
            public: String::new(),
        };
        till.call(
            Backend::Order,
            "PUT",
            "/cart/items/p-1",
            r#"{"quantity":2}"#,
        );
        till.start();
        till.doom.calls.store(0, Ordering::Relaxed);
        till
    }

    /// A process, in place of the one before.
    fn start(&mut self) {
        let mut web = Process::start(WEB, &["--config", &self.config], &ANYWHERE);
        let log = web.read_until("web-bff is listening");
        member(log.last().unwrap(), "listen").clone_into(&mut self.public);
        *self.doom.gateway.lock() = Some(web);
    }

    /// A call past every gateway.
    fn call(&self, backend: Backend, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (_, url) = self.urls.iter().find(|(b, _)| *b == backend).unwrap();
        let headers = ["x-user-id: ada", "content-type: application/json"].map(str::to_owned);
        let (status, body) = request(method, &format!("{url}{path}"), &headers, body);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Ada pays with a card; none when the gateway died of it.
    fn check_out(&self, number: &str) -> Option<(u16, Value)> {
        let headers = [
            format!(
                "Authorization: Bearer {}",
                self.mocks.token_for("ada").unwrap()
            ),
            // Accounts are the same in every case, and so is the Redis.
            format!("Idempotency-Key: {}", self.name),
            "Content-Type: application/json".to_owned(),
        ];
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        let url = format!("http://{}/api/checkout", self.public);
        let (status, text) = try_request("POST", &url, &headers, &body.to_string()).ok()?;
        let mut body: Value = serde_json::from_str(&text).unwrap();
        // Each time it is another request.
        body.as_object_mut().unwrap().remove("requestId");
        Some((status, body))
    }

    /// The same as a client does that was told to wait, until it is told anything else.
    fn until_told(&self, number: &str) -> (u16, Value) {
        let began = Instant::now();
        loop {
            let (status, body) = self.check_out(number).unwrap();
            if body["code"] != "in_progress" {
                return (status, body);
            }
            assert!(began.elapsed() < PATIENCE, "{}: {body}", self.name);
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// All orders, the newest first, as the backend has them.
    fn orders(&self) -> Vec<Value> {
        let (_, orders) = self.call(Backend::Order, "GET", "/orders?limit=50", "");
        orders["items"].as_array().unwrap().clone()
    }

    /// How all payments stand.
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

    fn cart(&self) -> usize {
        let (_, cart) = self.call(Backend::Order, "GET", "/cart", "");
        cart["items"].as_array().unwrap().len()
    }
}

/// How many calls a checkout makes that nobody disturbs.
fn undisturbed(runtime: &Runtime, redis: &str, number: &str, name: &str) -> usize {
    let till = Till::open(runtime, redis, name);
    let before = till.orders().len();
    till.doom.calls.store(0, Ordering::Relaxed);
    let first = till.until_told(number);
    let calls = till.doom.calls.load(Ordering::Relaxed);
    stands(&till, number, &first, before);
    calls
}

/// What was told is how it stands: paid once, or not at all.
fn stands(till: &Till, number: &str, (status, body): &(u16, Value), before: usize) {
    let case = format!("{}: {status} {body}", till.name);
    let (orders, payments) = (till.orders(), till.payments());
    assert_eq!(orders.len(), before + 1, "{case}");
    let how: Vec<&Value> = payments.iter().map(|payment| &payment["status"]).collect();
    if number == GOOD {
        assert_eq!(*status, 201, "{case}");
        assert_eq!(how, ["captured"], "{case}");
        assert_eq!(body["payment"]["id"], payments[0]["id"], "{case}");
        assert_eq!(body["payment"]["status"], "captured", "{case}");
        assert_eq!(body["order"]["id"], orders[0]["id"], "{case}");
        assert_eq!(payments[0]["orderId"], orders[0]["id"], "{case}");
        // It ships by itself soon.
        let paid = orders[0]["status"] == "paid" || orders[0]["status"] == "shipped";
        assert!(paid, "{case}: {}", orders[0]);
        assert_eq!(till.cart(), 0, "{case}");
    } else {
        assert!(how.iter().all(|how| *how == "declined"), "{case}: {how:?}");
        let code = &body["code"];
        assert!(
            code == "payment_declined" || code == "order_cancelled",
            "{case}"
        );
        assert_eq!(body["steps"]["order"], "cancelled", "{case}");
        assert_eq!(body["steps"]["cart"], "restored", "{case}");
        assert_eq!(orders[0]["status"], "cancelled", "{case}");
        assert_eq!(till.cart(), 1, "{case}");
    }
}

/// One gateway that is killed, and another that is asked the same.
fn killed(runtime: &Runtime, redis: &str, number: &str, name: &str, at: (usize, Boundary)) {
    let mut till = Till::open(runtime, redis, name);
    let before = till.orders().len();
    till.doom.calls.store(0, Ordering::Relaxed);
    *till.doom.at.lock() = Some(at);
    assert_eq!(till.check_out(number), None, "{name}: it was not killed");
    assert!(till.doom.gateway.lock().is_none(), "{name}");
    till.mocks.clear_faults(None);
    till.start();
    let told = till.until_told(number);
    stands(&till, number, &told, before);
    // And from then on it is told the same, by a third process too.
    till.start();
    assert_eq!(till.until_told(number), told, "{name}");
    stands(&till, number, &told, before);
}

#[test]
fn killed_at_every_step_the_same_key_pays_once_and_is_told_the_truth() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let redis = redis.config();
    let runtime = Runtime::new().unwrap();
    for (number, least) in [(GOOD, 4), (BROKE, 5)] {
        let short = if number == GOOD { "good" } else { "broke" };
        let calls = undisturbed(&runtime, &redis, number, short);
        assert!(calls >= least, "{short}: {calls} calls");
        thread::scope(|all| {
            for call in 1..=calls {
                for boundary in [Boundary::Before, Boundary::After] {
                    let (runtime, redis) = (&runtime, &redis);
                    let name = format!("{short}-{boundary:?}-{call}");
                    all.spawn(move || killed(runtime, redis, number, &name, (call, boundary)));
                }
            }
        });
    }
}
