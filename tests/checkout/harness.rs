//! The web's checkout over in-memory pipes, and a look behind it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bff_core::GatewayHandles;
use bff_core::action::{Created, IdempotencyKey, IdempotentWrites, WriteRequest};
use bff_core::context::Env;
use bff_core::net::{Connection, InMemoryNetwork, Net};
use bff_core::outbound::{Config, Upstream};
use bff_core::scope::Identity;
use bff_core::store::{self, RecordCipher, Store};
use bff_core::{Caller, Error, ProxyOnly, RequestContext, UpstreamClient, grpc};
use bff_services::actions::checkout::CHECKOUT;
use bff_services::order::{OrderClient, Status};
use bff_services::payment::{PaymentClient, Status as Paid};
use bff_services::{inventory, playback, product, review, user};
use http::HeaderValue;
use serde_json::json;
use services_mock::{Backend, Fault, Mocks, Options};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, ReadHalf};
use web_bff::Upstreams;
use web_bff::actions::checkout::Checkout;

pub(super) const GOOD: &str = "4111 1111 1111 1111";
pub(super) const BROKE: &str = "4000 0000 0000 0002";
/// How long a healthy backend takes here, so that every step begins at a moment of its own.
const STEP: Duration = Duration::from_millis(5);

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(2);

/// Longer than a claim outlives whoever held it.
pub(super) const CLAIM: Duration = Duration::from_secs(10);

/// One gateway that sells, and the backends behind it.
pub(super) struct CheckoutHarness {
    pub(super) mocks: Mocks,
    world: Env,
    store: Store,
    up: Upstreams,
    cx: RequestContext,
    ada: Caller,
    /// Whether connections break as they were asked to.
    pub(super) frail: Arc<AtomicBool>,
}

/// What stands at the backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendState {
    /// New orders by how far they have come.
    pub(super) placed: usize,
    pub(super) paid: usize,
    pub(super) cancelled: usize,
    /// Payments.
    pub(super) authorized: usize,
    pub(super) captured: usize,
    /// Lines in the cart.
    pub(super) cart: usize,
}

impl CheckoutHarness {
    /// With one product in ada's cart. The first connections to `(backend, n)` lose what comes after n bytes.
    pub(super) async fn open(lossy: Option<(&'static str, usize)>) -> Self {
        bff_core::auth::install_crypto();
        let frail = Arc::new(AtomicBool::new(false));
        let pipes = InMemoryNetwork::new({
            let frail = frail.clone();
            move |name, _, pipe| match lossy {
                Some((backend, left))
                    if frail.load(Ordering::Relaxed) && name.starts_with(backend) =>
                {
                    let (pipe, written) = tokio::io::split(pipe);
                    let lossy = tokio::io::join(Lossy { pipe, left }, written);
                    Ok(Connection::InMemory(Box::new(lossy)))
                }
                _ => Ok(Connection::InMemory(Box::new(pipe))),
            }
        });
        let world = Env::seeded(1, Net::InMemory(pipes.clone()));
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
        let identity = Identity {
            account: "ada".into(),
            ..Identity::default()
        };
        let store = Store::memory(1 << 20, &world);
        let (up, cx) = process(&world, &store);
        let till = Self {
            mocks,
            world,
            store,
            up,
            cx,
            ada: Caller::new(identity).unwrap(),
            frail,
        };
        let id = "p-1".parse().unwrap();
        let put = till.up.order.put_item(&till.cx, &till.ada, &id, 2);
        put.await.unwrap();
        till
    }

    /// Another process takes over from one that was killed. What was shared is still known.
    pub(super) fn restart(&mut self) {
        (self.up, self.cx) = process(&self.world, &self.store);
    }

    /// The same where nothing was shared.
    pub(super) fn restart_and_forget(&mut self) {
        self.store = Store::memory(1 << 20, &self.world);
        self.restart();
    }

    /// Slow enough that every step has a moment of its own.
    pub(super) fn steady(&self) {
        self.mocks.clear_faults(None);
        self.frail.store(false, Ordering::Relaxed);
        for backend in [Backend::Order, Backend::Payment] {
            self.mocks.set_fault(backend, Fault::latency(STEP)).unwrap();
        }
    }

    /// One request, which ends where it is when it is dropped.
    pub(super) async fn check_out(&self, number: &str) -> Result<Created<Checkout>, Error> {
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        let input = serde_json::from_value(body.clone()).unwrap();
        let key: IdempotencyKey = "k-1".parse().unwrap();
        let asked = WriteRequest::new(self.ada.clone(), key, body.to_string().as_bytes());
        let work = |cx, run| async move { Checkout::run(&cx, &self.up, &run, input).await };
        let cx = self.request();
        self.up
            .writes
            .run_once_inline(&cx, CHECKOUT, asked, work)
            .await
    }

    /// The id of ada's newest order.
    pub(super) async fn newest(&self) -> String {
        let cx = &self.request();
        let orders = self.up.order.history(cx, &self.ada, None, 1).await;
        orders.unwrap().value.items[0].id.to_string()
    }

    /// What undoes the newest order elsewhere.
    pub(super) async fn give_up(&self) {
        let id = self.newest().await.parse().unwrap();
        let cx = &self.request();
        self.up.order.cancel(cx, &self.ada, &id).await.unwrap();
    }

    /// A request of its own, with a deadline and extra attempts of its own.
    fn request(&self) -> RequestContext {
        background(&self.world, REQUEST)
    }

    pub(super) async fn truth(&self) -> BackendState {
        self.mocks.clear_faults(None);
        self.frail.store(false, Ordering::Relaxed);
        let cx = &background(&self.world, Duration::from_secs(60));
        // The breakers may be open from what was tried.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut truth = BackendState::default();
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

/// A request of its own, with a deadline and a retry allowance of its own.
fn background(world: &Env, time: Duration) -> RequestContext {
    RequestContext::background(&HeaderValue::from_static("web"), world, time)
}

/// A gateway's part in one process.
fn process(world: &Env, store: &Store) -> (Upstreams, RequestContext) {
    let shared = Arc::new(GatewayHandles::in_process("web", world.clone()));
    // Every process has the same sealing key.
    let sealing = store::Config {
        encryption_keys: vec![bff_core::config::Secret::new("A".repeat(43))],
        ..store::Config::default()
    };
    let seal = RecordCipher::open(&sealing, world).unwrap();
    let writes = IdempotentWrites::new(
        store.clone(),
        seal,
        bff_services::CODES,
        &shared.client,
        &shared.tasks,
    );
    let cx = background(world, REQUEST);
    (upstreams(&shared, writes), cx)
}

fn upstreams(shared: &GatewayHandles, writes: IdempotentWrites) -> Upstreams {
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
        auth: ProxyOnly,
        writes,
    }
}

/// What is read of a connection that loses every byte after so many, and breaks with the first one lost.
struct Lossy {
    pipe: ReadHalf<DuplexStream>,
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
