//! The whole fleet in one thread, on in-memory pipes with a paused clock: nothing waits in real time, and everything
//! follows from a seed. Backends and gateways can be taken away and brought back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bff_core::context::Env;
use bff_core::net::{Connection, InMemoryNetwork, Net};
use bff_core::server::{self, Listeners};
use bytes::Bytes;
use fleet::{Addresses, GATEWAYS, Gateway, overlay};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use services_mock::{Backend, CallEvent, Mocks, Options};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::unkept;

pub(crate) use record::{Called, How, Record};
pub(crate) use seeded_rng::Draw;

mod faulty_connection;
mod record;
mod seeded_rng;

/// What a town is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// What everything follows from.
    pub(crate) seed: u64,
    /// The only gateway; all of them when there is none.
    pub(crate) only: Option<&'static str>,
    /// Whether connections lag, are refused and are cut as the seed says.
    pub(crate) frail: bool,
    /// What is configured beyond what is shipped. Nothing is kept and no call shared unless it says so.
    pub(crate) also: fn(&Gateway) -> String,
}

/// A fleet on pipes. It lives as long as its runtime.
pub(crate) struct SimFleet {
    pub(crate) mocks: Mocks,
    pub(crate) record: Record,
    pipes: Arc<InMemoryNetwork>,
    world: Env,
    urls: BTreeMap<Backend, String>,
    places: Places,
    calm: Arc<AtomicBool>,
    also: fn(&Gateway) -> String,
}

/// Who is there, by name.
type Places = Arc<Mutex<BTreeMap<String, Place>>>;

/// One life of a backend or a gateway.
#[derive(Default)]
struct Place {
    /// Cancelled when it goes: its connections are cut, and new ones refused.
    gone: CancellationToken,
    serving: Option<AbortHandle>,
    /// How often it came back.
    returns: u32,
}

/// Runs a story in a runtime without a driver for sockets, under a watchdog in virtual time: what stands still has
/// failed too.
pub(crate) fn simulated<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let month = Duration::from_secs(30 * 24 * 3600);
    runtime.block_on(async move { timeout(month, story).await.unwrap() })
}

impl SimFleet {
    /// Starts mocks and gateways.
    pub(crate) fn start(plan: Plan) -> Self {
        bff_core::auth::install_crypto();
        let (record, places) = (Record::begin(), Places::default());
        let calm = Arc::new(AtomicBool::new(!plan.frail));
        let pipes = InMemoryNetwork::new({
            let (record, places, calm) = (record.clone(), places.clone(), calm.clone());
            move |name, ordinal, pipe| {
                let (gone, life) = {
                    let places = places.lock();
                    // A gateway's operators reach it where its clients do.
                    let place = &places[&name.replace("-admin.", ".")];
                    (place.gone.clone(), place.returns)
                };
                let draw = || Draw::of(plan.seed, &format!("{name} {life}"), ordinal);
                let frailty = (!calm.load(Ordering::Relaxed)).then(|| (draw(), calm.clone()));
                faulty_connection::open(name, frailty, pipe, gone, &record)
            }
        });
        let world = Env::seeded(plan.seed, Net::InMemory(pipes.clone()));
        let url = |b: Backend| (b, format!("http://{}", address(b.name())));
        let urls: BTreeMap<Backend, String> = Backend::ALL.into_iter().map(url).collect();
        let mocks = Mocks::new(Options {
            seed: plan.seed,
            issuer: urls[&Backend::Auth].clone(),
            epoch: world.now().into(),
        });
        let heard = record.clone();
        let hear = move |backend, call, moment: CallEvent<'_>| heard.hear(backend, call, moment);
        mocks.set_observer(hear).unwrap();
        let town = Self {
            mocks,
            record,
            pipes,
            world,
            urls,
            places,
            calm,
            also: plan.also,
        };
        for backend in Backend::ALL {
            town.start_instance(backend.name());
        }
        let wanted = |g: &&Gateway| plan.only.is_none_or(|only| only == g.name);
        for gateway in GATEWAYS.iter().filter(wanted) {
            town.start_instance(gateway.name);
        }
        town
    }

    /// Lets a backend or a gateway begin to listen.
    pub(crate) fn start_instance(&self, name: &str) {
        let mut places = self.places.lock();
        let place = places.entry(address(name)).or_default();
        if place.serving.is_some() {
            place.returns += 1;
        }
        place.gone = CancellationToken::new();
        let serving = match name.parse::<Backend>() {
            Ok(backend) => self.backend(backend),
            Err(_) => self.gateway(name, place.returns),
        };
        place.serving = Some(serving);
    }

    /// Takes it away: its connections are reset, and new ones refused until it is brought again.
    pub(crate) fn stop(&self, name: &str) {
        let places = self.places.lock();
        let place = &places[&address(name)];
        place.gone.cancel();
        if let Some(serving) = &place.serving {
            serving.abort();
        }
    }

    /// From now on no connection lags or breaks by itself.
    pub(crate) fn clear_faults(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    fn backend(&self, backend: Backend) -> AbortHandle {
        let mut accept = self.pipes.listen(&address(backend.name()));
        let mocks = self.mocks.clone();
        let serving = tokio::spawn(async move {
            while let Some(wire) = accept.next().await {
                let mocks = mocks.clone();
                tokio::spawn(async move { services_mock::connection(&mocks, backend, wire).await });
            }
        });
        serving.abort_handle()
    }

    fn gateway(&self, name: &str, life: u32) -> AbortHandle {
        let gateway = GATEWAYS.iter().find(|g| g.name == name).unwrap();
        let addresses = Addresses {
            listen: ([127, 0, 0, 1], 8080).into(),
            admin_listen: ([127, 0, 0, 1], 9080).into(),
        };
        let also = unkept((self.also)(gateway));
        let overlay = overlay::build(gateway, &addresses, &self.urls, Some(&also)).unwrap();
        let world = self.world.fork(&format!("life {life}"));
        let app = gateway.open(&overlay, Vec::new(), &world).unwrap().app;
        let listeners = Listeners {
            public: self.pipes.listen(&address(name)),
            admin: self.pipes.listen(&address(&format!("{name}-admin"))),
        };
        tokio::spawn(server::serve(listeners, app, std::future::pending())).abort_handle()
    }

    /// One request on a connection of its own, driven by whoever waits: dropped, the client has hung up. The error is
    /// that of a gateway that went away.
    pub(crate) async fn ask(
        &self,
        gateway: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, String> {
        exchange(self.dial(gateway).await?, request).await
    }

    /// One request on a connection of its own, whose answer streams: dropped, the client has hung up.
    pub(crate) async fn open(
        &self,
        gateway: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let (mut sender, connection) = connect(self.dial(gateway).await?).await?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        answer.map_err(|error| error.to_string())
    }

    /// A connection to a gateway.
    pub(crate) async fn dial(&self, gateway: &str) -> Result<Connection, String> {
        let wire = self.world.net().connect(&address(gateway)).await;
        wire.map_err(|error| error.to_string())
    }

    /// One request to a backend on a line that nothing befalls, past every gateway.
    pub(crate) async fn look(
        &self,
        backend: Backend,
        request: Request<Full<Bytes>>,
    ) -> Response<Bytes> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let mocks = self.mocks.clone();
        tokio::spawn(async move { services_mock::connection(&mocks, backend, far).await });
        exchange(near, request).await.unwrap()
    }
}

async fn exchange(
    io: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String> {
    let (mut sender, connection) = connect(io).await?;
    let mut exchange = std::pin::pin!(async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::from_parts(head, body))
    });
    let done = tokio::select! {
        biased;
        done = &mut exchange => done,
        _ = connection => exchange.await,
    };
    done.map_err(|error| error.to_string())
}

/// Who puts requests into a connection, and who drives it.
type Client<IO> = (
    http1::SendRequest<Full<Bytes>>,
    http1::Connection<TokioIo<IO>, Full<Bytes>>,
);

async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(io: IO) -> Result<Client<IO>, String> {
    let client = http1::handshake(TokioIo::new(io)).await;
    client.map_err(|error| error.to_string())
}

/// Where a backend or a gateway is found on the pipes.
pub(crate) fn address(name: &str) -> String {
    format!("{name}.sim:80")
}
