//! Ordering and paying, killed at every moment and failed in every way: nothing is charged twice, and what is told is so.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bff_core::action::Key;
use bff_core::context::{Shared, World};
use bff_core::net::{Net, Pipes, Wire};
use bff_core::outbound::{Config, Upstream};
use bff_core::scope::Identity;
use bff_core::{Caller, Cx, Failure, grpc};
use bff_services::order::{OrderClient, Status};
use bff_services::payment::{PaymentClient, Status as Paid};
use bff_services::{inventory, playback, product, review, user};
use http::HeaderValue;
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mocks, Mode, Options};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::timeout;
use web_bff::Upstreams;
use web_bff::actions::checkout::Checkout;

use crate::support::{Shop, try_send, until};

const GOOD: &str = "4111 1111 1111 1111";
const BROKE: &str = "4000 0000 0000 0002";
/// How long a healthy backend takes here, so that every step begins at a moment of its own.
const STEP: Duration = Duration::from_millis(5);

/// The web's checkout over in-memory pipes, and a look behind it.
struct Till {
    mocks: Mocks,
    up: Upstreams,
    cx: Cx,
    ada: Caller,
    /// Whether connections break as they were asked to.
    frail: Arc<AtomicBool>,
}

/// What stands at the backends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Truth {
    /// New orders by how far they have come.
    placed: usize,
    paid: usize,
    cancelled: usize,
    /// Payments.
    authorized: usize,
    captured: usize,
    /// Lines in the cart.
    cart: usize,
}

impl Till {
    /// With one product in ada's cart. The first connections to `(backend, n)` lose what comes after n bytes.
    async fn open(lossy: Option<(&'static str, usize)>) -> Self {
        bff_core::auth::install_crypto();
        let frail = Arc::new(AtomicBool::new(false));
        let pipes = Pipes::new({
            let frail = frail.clone();
            move |name, _, pipe| match lossy {
                Some((backend, left))
                    if frail.load(Ordering::Relaxed) && name.starts_with(backend) =>
                {
                    Ok(Wire::Pipe(Box::new(Lossy { pipe, left })))
                }
                _ => Ok(Wire::Pipe(Box::new(pipe))),
            }
        });
        let world = World::seeded(1, Net::Pipes(pipes.clone()));
        let mocks = Mocks::new(Options {
            seed: 1,
            issuer: "http://auth.sim:80".into(),
            epoch: world.now().into(),
        });
        for backend in [Backend::Order, Backend::Payment] {
            let mut accept = pipes.listen(&format!("{}.sim:80", backend.name()));
            let mocks = mocks.clone();
            tokio::spawn(async move {
                while let Some(wire) = accept.next().await {
                    let mocks = mocks.clone();
                    tokio::spawn(
                        async move { services_mock::connection(&mocks, backend, wire).await },
                    );
                }
            });
        }
        let shared = Arc::new(Shared {
            client: HeaderValue::from_static("web"),
            world,
            tasks: tokio_util::task::TaskTracker::new(),
            leaving: tokio_util::sync::CancellationToken::new(),
            metrics: bff_core::telemetry::Metrics::unread(),
            cache: bff_core::cache::Cache::new(&bff_core::cache::Config::default(), &World::real()),
            fields: bff_core::section::fields::Known::default(),
        });
        let identity = Identity {
            account: "ada".into(),
            ..Identity::default()
        };
        let till = Self {
            mocks,
            up: upstreams(&shared),
            cx: Cx::background(&shared, Duration::from_secs(2)),
            ada: Caller::new(identity).unwrap(),
            frail,
        };
        let id = "p-1".parse().unwrap();
        till.up
            .order
            .put_item(&till.cx, &till.ada, &id, 2)
            .await
            .unwrap();
        till
    }

    /// Slow enough that every step has a moment of its own.
    fn steady(&self) {
        self.mocks.clear_faults(None);
        self.frail.store(false, Ordering::Relaxed);
        for backend in [Backend::Order, Backend::Payment] {
            self.mocks.set_fault(backend, Fault::latency(STEP)).unwrap();
        }
    }

    async fn check_out(&self, number: &str) -> Result<Checkout, Failure> {
        let input = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        let input = serde_json::from_value(input).unwrap();
        let key: Key = "k-1".parse().unwrap();
        // A request of its own each time, with a deadline of its own.
        let cx = self.cx.beyond(Duration::from_secs(2));
        Checkout::run(&cx, &self.up, &self.ada, &key, input).await
    }

    async fn truth(&self) -> Truth {
        self.mocks.clear_faults(None);
        self.frail.store(false, Ordering::Relaxed);
        let cx = &self.cx.beyond(Duration::from_secs(60));
        // The breakers may be open from what was tried.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut truth = Truth::default();
        let orders = self
            .up
            .order
            .history(cx, &self.ada, None, 50)
            .await
            .unwrap();
        let cart = self.up.order.cart(cx, &self.ada).await.unwrap();
        truth.cart = cart.value.items.len();
        // Those of the past have been shipped.
        for order in &orders.value.items {
            match order.status {
                Status::Placed => truth.placed += 1,
                Status::Paid => truth.paid += 1,
                Status::Cancelled => truth.cancelled += 1,
                _ => {}
            }
        }
        for n in 1..20 {
            let id = format!("pay-ada-{n}").parse().unwrap();
            match self.up.payment.by_id(cx, &self.ada, &id).await {
                Ok(payment) => match payment.value.status {
                    Paid::Authorized => truth.authorized += 1,
                    Paid::Captured => truth.captured += 1,
                    _ => {}
                },
                Err(_) => break,
            }
        }
        truth
    }
}

fn upstreams(shared: &Shared) -> Upstreams {
    let at = |name: &str| Config::at(format!("http://{name}.sim:80").parse().unwrap());
    let http = |name: &'static str| Upstream::new(name, &at(name), shared).unwrap();
    let playback = grpc::Upstream::new("playback", &at("playback"), shared).unwrap();
    Upstreams {
        product: product::ProductClient::new(http("product")),
        review: review::ReviewClient::new(http("review")),
        inventory: inventory::InventoryClient::new(http("inventory")),
        user: user::UserClient::new(http("user")),
        playback: playback::PlaybackClient::new(playback),
        order: OrderClient::new(http("order")),
        payment: PaymentClient::new(http("payment")),
    }
}

fn simulated<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(story)
}

/// What a client is told: a code, and what came of each step.
fn told(failure: &Failure) -> (&'static str, Value) {
    let error = failure.error();
    let problem: Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
    (error.code().name(), problem["steps"].clone())
}

/// Orders of the past that are neither placed, paid nor cancelled do not count; those that are, do.
async fn before(till: &Till) -> Truth {
    till.truth().await
}

#[test]
fn killed_at_any_moment_the_same_key_pays_once() {
    let mut moments = 0;
    for at in 0.. {
        let ended = simulated(async move {
            let till = Till::open(None).await;
            let before = before(&till).await;
            till.steady();
            let killed = timeout(Duration::from_millis(at), till.check_out(GOOD)).await;
            let again = till.check_out(GOOD).await;
            let again = again.unwrap_or_else(|e| panic!("killed at {at} ms: {:?}", told(&e)));
            assert_eq!(again.payment.status, "captured");
            let truth = till.truth().await;
            let once = Truth {
                captured: before.captured + 1,
                cart: 0,
                // Paid orders ship by themselves; none is left placed.
                paid: truth.paid,
                ..before
            };
            assert_eq!(truth, once, "killed at {at} ms");
            killed.is_ok()
        });
        moments += 1;
        if ended {
            break;
        }
    }
    assert!(moments > 10, "only {moments} moments");
}

#[test]
fn killed_at_any_moment_a_declined_card_leaves_nothing_behind() {
    for at in 0.. {
        let ended = simulated(async move {
            let till = Till::open(None).await;
            let before = before(&till).await;
            till.steady();
            let killed = timeout(Duration::from_millis(at), till.check_out(BROKE)).await;
            let (code, steps) = told(&till.check_out(BROKE).await.unwrap_err());
            // Killed before it was undone, it is declined again; afterwards there is nothing left to pay for.
            let refused = ["payment_declined", "order_cancelled"].contains(&code);
            assert!(refused, "killed at {at} ms: {code} {steps}");
            let stands = [&steps["order"], &steps["cart"]];
            assert_eq!(stands, ["cancelled", "restored"], "killed at {at} ms");
            let truth = till.truth().await;
            let cancelled = before.cancelled + 1;
            assert_eq!(
                truth,
                Truth {
                    cancelled,
                    ..before
                },
                "killed at {at} ms"
            );
            killed.is_ok()
        });
        if ended {
            break;
        }
    }
}

/// A fault of a backend, or connections to it that lose what comes after so many bytes.
type Mishap = (Option<(Backend, Fault)>, Option<(&'static str, usize)>);

/// Every step at every backend, failed in every way, or done with its answer lost after any number of bytes.
fn mishaps() -> Vec<Mishap> {
    let mut mishaps = Vec::new();
    let steps = [
        (Backend::Order, "/orders"),
        (Backend::Payment, "/payments"),
        (Backend::Payment, "/payments/pay-ada-1/capture"),
    ];
    for (backend, route) in steps {
        let modes = [Mode::Hang, Mode::Reset, Mode::Truncate, Mode::Malformed];
        let modes = modes.map(Fault::mode).into_iter();
        let statuses = [500, 503, 429, 422, 402, 409]
            .map(Fault::status)
            .into_iter();
        for fault in modes.chain(statuses) {
            mishaps.push((Some((backend, fault.clone().on(route))), None));
            mishaps.push((Some((backend, fault.on(route).times(1))), None));
        }
    }
    for backend in ["order", "payment"] {
        let cuts = (0..900).step_by(50);
        mishaps.extend(cuts.map(|left| (None, Some((backend, left)))));
    }
    mishaps
}

#[test]
fn whatever_fails_what_is_told_is_so_and_the_same_key_settles_it() {
    for (fault, lossy) in mishaps() {
        simulated(async {
            let case = format!("{fault:?} {lossy:?}");
            let till = Till::open(lossy).await;
            let before = before(&till).await;
            till.frail.store(true, Ordering::Relaxed);
            if let Some((backend, fault)) = &fault {
                till.mocks.set_fault(*backend, fault.clone()).unwrap();
            }
            let first = till.check_out(GOOD).await;
            let truth = till.truth().await;
            match &first {
                Ok(_) => assert_eq!(truth.captured, before.captured + 1, "{case}"),
                Err(failure) => check(failure, &truth, &before, &case),
            }
            let again = till.check_out(GOOD).await;
            let truth = till.truth().await;
            let captured = truth.captured - before.captured;
            match again {
                Ok(_) => {
                    assert_eq!(captured, 1, "{case}: {truth:?}");
                    // Nobody pays for an order that was given up.
                    assert_eq!(truth.cancelled, before.cancelled, "{case}: {truth:?}");
                }
                // A refusal stands: what was undone is not done by the same key again.
                Err(failure) => {
                    let (code, _) = told(&failure);
                    assert!(
                        code != "outcome_unknown" && captured == 0,
                        "{case}: {code}: {truth:?}"
                    );
                    assert_eq!(
                        (truth.placed, truth.authorized),
                        (before.placed, before.authorized),
                        "{case}"
                    );
                }
            }
        });
    }
}

/// What a failure says of its steps is what stands.
fn check(failure: &Failure, truth: &Truth, before: &Truth, case: &str) {
    let (code, steps) = told(failure);
    let case = format!("{case}: {code} {steps}: {truth:?}");
    let step = |name: &str| steps[name].as_str().unwrap_or_default().to_owned();
    let (order, payment) = (step("order"), step("payment"));
    let unknown = [&order, &payment].into_iter().any(|s| s == "unknown");
    assert_eq!(code == "outcome_unknown", unknown, "{case}");
    if order != "unknown" {
        let stands = usize::from(order == "placed");
        let paid = truth.paid - before.paid;
        assert_eq!(truth.placed - before.placed + paid, stands, "{case}");
    }
    if payment != "unknown" {
        let authorized = usize::from(payment == "authorized");
        let now = (
            truth.authorized - before.authorized,
            truth.captured - before.captured,
        );
        assert_eq!(now, (authorized, 0), "{case}");
    }
    if order == "cancelled" || order == "refused" || order == "not_done" {
        assert_eq!(truth.cart, before.cart, "{case}");
    }
}

#[tokio::test]
async fn a_cart_is_ordered_and_paid_through_each_door_that_sells() {
    let shop = Shop::open().await;
    let pay = async |(gateway, path): (&str, &str), headers: &[(&str, &str)], number: &str| {
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        shop.post_with(gateway, path, headers, &body).await
    };
    for (n, door) in [("web", "/api/checkout"), ("mobile", "/v1/checkout")]
        .into_iter()
        .enumerate()
    {
        let (bearer, key) = (shop.bearer("ada"), format!("k-{n}"));
        let headers = [("authorization", &*bearer), ("idempotency-key", &*key)];
        for (missing, status) in [(0, 401), (1, 400)] {
            let answer = pay(door, &headers[1 - missing..2 - missing], GOOD).await;
            assert_eq!(answer.status, status, "{}", answer.body);
        }
        let mistaken = pay(door, &headers, "4111x").await;
        assert_eq!(mistaken.status, 422);
        assert_eq!(mistaken.body["errors"][0]["pointer"], "/card/number");
        assert!(
            !mistaken.body.to_string().contains("4111"),
            "{}",
            mistaken.body
        );
        let empty = pay(door, &[headers[0], ("idempotency-key", "empty")], GOOD).await;
        assert_eq!(empty.body["code"], "order_refused");
        assert_eq!(empty.body["steps"], json!({"order": "refused"}));
        shop.fill_cart("ada").await;
        let declined = pay(door, &[headers[0], ("idempotency-key", "broke")], BROKE).await;
        assert_eq!(
            (declined.status.as_u16(), &declined.body["code"]),
            (402, &"payment_declined".into())
        );
        assert_eq!(declined.body["steps"]["order"], "cancelled");
        shop.fleet.mocks().reset();
        shop.fill_cart("ada").await;
        let done = pay(door, &headers, GOOD).await;
        assert_eq!(done.status, 201, "{}", done.body);
        assert_eq!(done.header("cache-control"), "no-store");
        assert!(
            done.body.to_string().contains("\"last4\":\"1111\""),
            "{}",
            done.body
        );
        let again = pay(door, &headers, GOOD).await;
        assert_eq!(
            (again.status.as_u16(), &again.body),
            (201, &done.body),
            "once"
        );
        shop.fleet.mocks().reset();
    }
}

#[tokio::test]
async fn a_buyer_who_hangs_up_has_bought() {
    let shop = Shop::open().await;
    shop.fill_cart("ada").await;
    let mocks = shop.fleet.mocks();
    let slow = Fault::latency(Duration::from_millis(150));
    mocks.set_fault(Backend::Payment, slow).unwrap();
    let body = json!({"card": {"number": GOOD, "expiry": "12/99", "cvc": "987"}});
    let asked = (shop
        .http
        .post(format!("{}/api/checkout", shop.fleet.url("web"))))
    .header("authorization", shop.bearer("ada"))
    .header("idempotency-key", "k-1")
    .json(&body);
    let asked = tokio::spawn(try_send(asked));
    until(|| mocks.stats(Backend::Payment).in_flight == 1).await;
    asked.abort();
    until(|| {
        mocks.stats(Backend::Payment).calls == 2 && mocks.stats(Backend::Payment).in_flight == 0
    })
    .await;
    assert_eq!(mocks.stats(Backend::Payment).cancelled, 0);
}

/// A connection that loses every byte after so many, and breaks with the first one lost.
struct Lossy {
    pipe: DuplexStream,
    left: usize,
}

impl AsyncRead for Lossy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = vec![0; buf.remaining()];
        let mut piece = ReadBuf::new(&mut bytes);
        std::task::ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut piece))?;
        let came = piece.filled().len();
        let kept = came.min(self.left);
        buf.put_slice(&piece.filled()[..kept]);
        self.left -= kept;
        if kept == 0 && came > 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lossy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
