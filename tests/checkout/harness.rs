//! Runs the web gateway's checkout over in-memory pipes, and reads the backends' state.

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
use bff_services::payment::{PaymentClient, Status as PaymentStatus};
use bff_services::{inventory, playback, product, review, user};
use http::HeaderValue;
use serde_json::json;
use services_mock::{Backend, Fault, Mocks, Options};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, ReadHalf};
use web_bff::Upstreams;
use web_bff::actions::checkout::Checkout;

pub(super) const GOOD_CARD: &str = "4111 1111 1111 1111";
pub(super) const DECLINED_CARD: &str = "4000 0000 0000 0002";
/// The latency of every backend call, so that each step starts at a different time.
const STEP_LATENCY: Duration = Duration::from_millis(5);

/// The deadline of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Longer than the claim of a killed process lasts.
pub(super) const CLAIM_TTL: Duration = Duration::from_secs(10);

/// One gateway with a checkout, and its backends.
pub(super) struct CheckoutHarness {
    pub(super) mocks: Mocks,
    env: Env,
    store: Store,
    upstreams: Upstreams,
    cx: RequestContext,
    ada: Caller,
    /// Whether new connections lose bytes.
    pub(super) lossy_connections: Arc<AtomicBool>,
}

/// The orders and payments at the backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendState {
    /// The number of new orders by status.
    pub(super) placed: usize,
    pub(super) paid: usize,
    pub(super) cancelled: usize,
    /// The number of payments by status.
    pub(super) authorized: usize,
    pub(super) captured: usize,
    /// The number of lines in the cart.
    pub(super) cart: usize,
}

impl CheckoutHarness {
    /// Starts a gateway with one product in ada's cart. With `truncate_after: (backend, n)`, each lossy connection to the
    /// backend loses the bytes after the first n.
    pub(super) async fn start(truncate_after: Option<(&'static str, usize)>) -> Self {
        bff_core::auth::install_crypto();
        let lossy_connections = Arc::new(AtomicBool::new(false));
        let network = InMemoryNetwork::new({
            let lossy_connections = lossy_connections.clone();
            move |name, _, pipe| match truncate_after {
                Some((backend, remaining))
                    if lossy_connections.load(Ordering::Relaxed) && name.starts_with(backend) =>
                {
                    let (pipe, writer) = tokio::io::split(pipe);
                    let reader = LossyReader { pipe, remaining };
                    let lossy = tokio::io::join(reader, writer);
                    Ok(Connection::InMemory(Box::new(lossy)))
                }
                _ => Ok(Connection::InMemory(Box::new(pipe))),
            }
        });
        let env = Env::seeded(1, Net::InMemory(network.clone()));
        let mocks = Mocks::new(Options {
            seed: 1,
            issuer: "http://auth.sim:80".into(),
            epoch: env.now().into(),
        });
        for backend in [Backend::Order, Backend::Payment] {
            let mut accept = network.listen(&format!("{}.sim:80", backend.name()));
            let mocks = mocks.clone();
            tokio::spawn(async move {
                while let Some(connection) = accept.next().await {
                    let mocks = mocks.clone();
                    tokio::spawn(async move {
                        services_mock::connection(&mocks, backend, connection).await;
                    });
                }
            });
        }
        let identity = Identity {
            account: "ada".into(),
            ..Identity::default()
        };
        let store = Store::memory(1 << 20, &env);
        let (upstreams, cx) = start_gateway(&env, &store);
        let harness = Self {
            mocks,
            env,
            store,
            upstreams,
            cx,
            ada: Caller::new(identity).unwrap(),
            lossy_connections,
        };
        let id = "p-1".parse().unwrap();
        let put = harness
            .upstreams
            .order
            .put_item(&harness.cx, &harness.ada, &id, 2);
        put.await.unwrap();
        harness
    }

    /// Starts another process with the same store.
    pub(super) fn restart(&mut self) {
        (self.upstreams, self.cx) = start_gateway(&self.env, &self.store);
    }

    /// Starts another process with an empty store.
    pub(super) fn restart_without_store(&mut self) {
        self.store = Store::memory(1 << 20, &self.env);
        self.restart();
    }

    /// Clears all faults and adds a latency, so that each step starts at a different time.
    pub(super) fn slow_every_step(&self) {
        self.mocks.clear_faults(None);
        self.lossy_connections.store(false, Ordering::Relaxed);
        for backend in [Backend::Order, Backend::Payment] {
            self.mocks
                .set_fault(backend, Fault::latency(STEP_LATENCY))
                .unwrap();
        }
    }

    /// Runs one checkout in the caller's task. Dropping the future interrupts it.
    pub(super) async fn check_out(&self, number: &str) -> Result<Created<Checkout>, Error> {
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        let input = serde_json::from_value(body.clone()).unwrap();
        let key: IdempotencyKey = "k-1".parse().unwrap();
        let request = WriteRequest::new(self.ada.clone(), key, body.to_string().as_bytes());
        let work = |cx, run| async move { Checkout::run(&cx, &self.upstreams, &run, input).await };
        let cx = self.new_context();
        self.upstreams
            .writes
            .run_once_inline(&cx, CHECKOUT, request, work)
            .await
    }

    /// The id of ada's newest order.
    pub(super) async fn newest_order(&self) -> String {
        let cx = &self.new_context();
        let orders = self.upstreams.order.history(cx, &self.ada, None, 1).await;
        orders.unwrap().value.items[0].id.to_string()
    }

    /// Cancels ada's newest order, as another gateway would.
    pub(super) async fn cancel_newest_order(&self) {
        let id = self.newest_order().await.parse().unwrap();
        let cx = &self.new_context();
        self.upstreams
            .order
            .cancel(cx, &self.ada, &id)
            .await
            .unwrap();
    }

    /// A new request context with its own deadline and retry budget.
    fn new_context(&self) -> RequestContext {
        background(&self.env, REQUEST_TIMEOUT)
    }

    /// Clears all faults and reads the backends' state.
    pub(super) async fn read_state(&self) -> BackendState {
        self.mocks.clear_faults(None);
        self.lossy_connections.store(false, Ordering::Relaxed);
        let cx = &background(&self.env, Duration::from_secs(60));
        // Waits until open circuit breakers permit calls again.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut state = BackendState::default();
        let orders = self
            .upstreams
            .order
            .history(cx, &self.ada, None, 50)
            .await
            .unwrap();
        let cart = self.upstreams.order.cart(cx, &self.ada).await.unwrap();
        state.cart = cart.value.items.len();
        // Orders from before the test are shipped.
        for order in &orders.value.items {
            match order.status {
                Status::Placed => state.placed += 1,
                Status::Paid => state.paid += 1,
                Status::Cancelled => state.cancelled += 1,
                _ => {}
            }
        }
        for n in 1..20 {
            let id = format!("pay-ada-{n}").parse().unwrap();
            match self.upstreams.payment.by_id(cx, &self.ada, &id).await {
                Ok(payment) => match payment.value.status {
                    PaymentStatus::Authorized => state.authorized += 1,
                    PaymentStatus::Captured => state.captured += 1,
                    _ => {}
                },
                Err(_) => break,
            }
        }
        state
    }
}

/// A request context with its own deadline and retry budget.
fn background(env: &Env, time: Duration) -> RequestContext {
    RequestContext::background(&HeaderValue::from_static("web"), env, time)
}

/// The gateway's part of one process.
fn start_gateway(env: &Env, store: &Store) -> (Upstreams, RequestContext) {
    let shared = GatewayHandles::in_process("web", env.clone());
    // Every process has the same encryption key.
    let config = store::Config {
        encryption_keys: vec![bff_core::config::Secret::new("A".repeat(43))],
        ..store::Config::default()
    };
    let cipher = RecordCipher::open(&config, env).unwrap();
    let writes = IdempotentWrites::new(
        store.clone(),
        cipher,
        bff_services::CODES,
        &shared.client,
        &shared.tasks,
    );
    let cx = background(env, REQUEST_TIMEOUT);
    (upstreams(&shared, writes), cx)
}

fn upstreams(shared: &GatewayHandles, writes: IdempotentWrites) -> Upstreams {
    let config = |name: &str| Config::at(format!("http://{name}.sim:80").parse().unwrap());
    let http = |name: &'static str| Upstream::new(name, &config(name), shared).unwrap();
    let playback = grpc::Upstream::new("playback", &config("playback"), shared).unwrap();
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

/// The reading half of a connection that is reset after `remaining` bytes.
struct LossyReader {
    pipe: ReadHalf<DuplexStream>,
    remaining: usize,
}

impl AsyncRead for LossyReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = vec![0; buf.remaining()];
        let mut chunk = ReadBuf::new(&mut bytes);
        std::task::ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut chunk))?;
        let read = chunk.filled().len();
        let allowed_bytes = read.min(self.remaining);
        buf.put_slice(&chunk.filled()[..allowed_bytes]);
        self.remaining -= allowed_bytes;
        if allowed_bytes == 0 && read > 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}
