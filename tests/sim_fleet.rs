//! Runs the whole fleet in one thread, on in-memory pipes with a paused clock. Nothing waits in real time, and a seed
//! determines every event. A test can stop and restart backends and gateways.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bff_core::context::Env;
use bff_core::net::{InMemoryNetwork, Net};
use bff_core::server::{self, Listeners};
use fleet::{Addresses, GATEWAYS, Gateway, overlay};
use parking_lot::Mutex;
use services_mock::{Backend, CallEvent, Mocks, Options};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::without_cache;

pub(crate) use record::{BackendCall, ConnectionError, TrafficRecord};
pub(crate) use seeded_rng::SeededRng;

mod client;
mod faulty_connection;
mod record;
mod seeded_rng;

/// How a [`SimFleet`] is set up.
pub(crate) struct SimOptions {
    /// Determines every random event.
    pub(crate) seed: u64,
    /// The only gateway to start; `None` starts all.
    pub(crate) only_gateway: Option<&'static str>,
    /// Whether the seed delays, refuses and cuts connections.
    pub(crate) network_faults: bool,
    /// Configuration on top of the shipped one. Without a `[cache]` table, caches and single-flight are off.
    pub(crate) extra_config: ExtraConfig,
}

/// Returns a gateway's configuration overlay.
pub(crate) type ExtraConfig = Box<dyn Fn(&Gateway) -> String>;

/// A fleet on in-memory pipes. It lives as long as its runtime.
pub(crate) struct SimFleet {
    pub(crate) mocks: Mocks,
    pub(crate) record: TrafficRecord,
    network: Arc<InMemoryNetwork>,
    env: Env,
    urls: BTreeMap<Backend, String>,
    instances: Instances,
    faults_cleared: Arc<AtomicBool>,
    extra_config: ExtraConfig,
}

/// The backends and gateways, by address.
type Instances = Arc<Mutex<BTreeMap<String, InstanceState>>>;

/// A backend or a gateway, from its start to its stop.
#[derive(Default)]
struct InstanceState {
    /// Cancelled at the stop: open connections are reset, and new ones are refused.
    stopped: CancellationToken,
    task: Option<AbortHandle>,
    restarts: u32,
}

/// Runs a test in a runtime without an I/O driver. Panics after 30 days of virtual time, so that a deadlock fails too.
pub(crate) fn run_simulated<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let month = Duration::from_secs(30 * 24 * 3600);
    runtime.block_on(async move { timeout(month, test).await.unwrap() })
}

impl SimFleet {
    /// Starts web only, without network faults.
    pub(crate) fn start_web(config: &str) -> Self {
        let config = config.to_owned();
        Self::start(SimOptions {
            seed: 1,
            only_gateway: Some("web"),
            network_faults: false,
            extra_config: Box::new(move |_| config.clone()),
        })
    }

    /// Starts the mocks and the gateways.
    pub(crate) fn start(options: SimOptions) -> Self {
        bff_core::auth::install_crypto();
        let (record, instances) = (TrafficRecord::start(), Instances::default());
        let faults_cleared = Arc::new(AtomicBool::new(!options.network_faults));
        let network = InMemoryNetwork::new({
            let (record, instances, faults_cleared) =
                (record.clone(), instances.clone(), faults_cleared.clone());
            move |name, ordinal, pipe| {
                let (stopped, restarts) = {
                    let instances = instances.lock();
                    // A gateway's admin listener stops and starts with its public one.
                    let instance = &instances[&name.replace("-admin.", ".")];
                    (instance.stopped.clone(), instance.restarts)
                };
                let rng = || SeededRng::new(options.seed, &format!("{name} {restarts}"), ordinal);
                let faults = (!faults_cleared.load(Ordering::Relaxed))
                    .then(|| (rng(), faults_cleared.clone()));
                faulty_connection::open(name, faults, pipe, stopped, &record)
            }
        });
        let env = Env::seeded(options.seed, Net::InMemory(network.clone()));
        let url = |b: Backend| (b, format!("http://{}", address(b.name())));
        let urls: BTreeMap<Backend, String> = Backend::ALL.into_iter().map(url).collect();
        let mocks = Mocks::new(Options {
            seed: options.seed,
            issuer: urls[&Backend::Auth].clone(),
            epoch: env.now().into(),
        });
        let calls = record.clone();
        let observer =
            move |backend, call, event: CallEvent<'_>| calls.record_event(backend, call, event);
        mocks.set_observer(observer).unwrap();
        let fleet = Self {
            mocks,
            record,
            network,
            env,
            urls,
            instances,
            faults_cleared,
            extra_config: options.extra_config,
        };
        for backend in Backend::ALL {
            fleet.start_instance(backend.name());
        }
        let selected = |g: &&Gateway| options.only_gateway.is_none_or(|name| name == g.name);
        for gateway in GATEWAYS.iter().filter(selected) {
            fleet.start_instance(gateway.name);
        }
        fleet
    }

    /// Starts or restarts a backend or a gateway.
    pub(crate) fn start_instance(&self, name: &str) {
        let mut instances = self.instances.lock();
        let instance = instances.entry(address(name)).or_default();
        if instance.task.is_some() {
            instance.restarts += 1;
        }
        instance.stopped = CancellationToken::new();
        let task = match name.parse::<Backend>() {
            Ok(backend) => self.spawn_backend(backend),
            Err(_) => self.spawn_gateway(name, instance.restarts),
        };
        instance.task = Some(task);
    }

    /// Stops a backend or a gateway: its connections are reset, and new ones are refused until it is restarted.
    pub(crate) fn stop(&self, name: &str) {
        let instances = self.instances.lock();
        let instance = &instances[&address(name)];
        instance.stopped.cancel();
        if let Some(task) = &instance.task {
            task.abort();
        }
    }

    /// Ends all network faults, also on open connections.
    pub(crate) fn clear_faults(&self) {
        self.faults_cleared.store(true, Ordering::Relaxed);
    }

    fn spawn_backend(&self, backend: Backend) -> AbortHandle {
        let mut accept = self.network.listen(&address(backend.name()));
        let mocks = self.mocks.clone();
        let task = tokio::spawn(async move {
            while let Some(connection) = accept.next().await {
                let mocks = mocks.clone();
                tokio::spawn(async move {
                    services_mock::connection(&mocks, backend, connection).await;
                });
            }
        });
        task.abort_handle()
    }

    fn spawn_gateway(&self, name: &str, restarts: u32) -> AbortHandle {
        let gateway = GATEWAYS.iter().find(|g| g.name == name).unwrap();
        let addresses = Addresses {
            listen: ([127, 0, 0, 1], 8080).into(),
            admin_listen: ([127, 0, 0, 1], 9080).into(),
        };
        let config = without_cache((self.extra_config)(gateway));
        let overlay = overlay::build(gateway, &addresses, &self.urls, Some(&config)).unwrap();
        let env = self.env.fork(&format!("life {restarts}"));
        let app = gateway.open(&overlay, Vec::new(), &env).unwrap().app;
        let listeners = Listeners {
            public: self.network.listen(&address(name)),
            admin: self.network.listen(&address(&format!("{name}-admin"))),
        };
        tokio::spawn(server::serve(listeners, app, std::future::pending())).abort_handle()
    }
}

/// The address of a backend or a gateway in the simulated network.
pub(crate) fn address(name: &str) -> String {
    format!("{name}.sim:80")
}
