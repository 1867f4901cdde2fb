//! Everything on one machine: the eight fake backends and the gateways, in one process.
//!
//! [`start`] binds every port before anything runs, so that a taken one is told at once; then it builds each
//! gateway from its own compiled-in configuration, the fleet's development overlay ([`overlay`]) and the
//! environment, exactly as the gateway would alone.

use std::collections::BTreeMap;

use bff_core::context::Env;
use bff_core::net::Listener;
use bff_core::server::{self, App, Listeners};
use services_mock::{Backend, Mocks};
use tokio::net::TcpListener;

pub use gateways::{BuiltGateway, Callers, GATEWAYS, Gateway};
pub use overlay::{Addresses, PARTNER_KEY};
pub use ports::Ports;
pub use running::Running;

pub mod banner;
mod gateways;
pub mod overlay;
mod ports;
mod running;
pub mod scaffold;
mod toml_tables;

/// What to run, and where.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The ports. Default: the documented ones.
    pub ports: Ports,
    /// The gateways to run, by name. Default: empty, which means all.
    pub only: Vec<String>,
    /// Real backends in place of their mocks, by URL.
    pub real: BTreeMap<Backend, String>,
    /// More configuration of one gateway, TOML by its name, over the fleet's own.
    pub overlays: BTreeMap<String, String>,
    /// The environment the gateways read. Default: empty.
    pub env: Vec<(String, String)>,
    /// What the mocks' data follows from.
    pub seed: u64,
}

/// One gateway's two bound ports, before it is built.
struct Bound {
    gateway: &'static Gateway,
    public: TcpListener,
    admin: TcpListener,
    addresses: Addresses,
}

/// Starts the fleet and answers once every port is open. The error is one line.
pub async fn start(fleet: Fleet) -> Result<Running, String> {
    bff_core::auth::install_crypto();
    let chosen = chosen(&fleet)?;
    let backends = running::Backends::bind(fleet.ports, &fleet.real).await?;
    let mut bound = Vec::new();
    for gateway in chosen {
        bound.push(bind(fleet.ports, gateway).await?);
    }
    let world = Env::real();
    let mocks = Mocks::new(services_mock::Options {
        seed: fleet.seed,
        issuer: backends.issuer().to_owned(),
        epoch: world.now().into(),
    });
    let mut ready = Vec::new();
    for one in bound {
        let app = open(&fleet, &one, backends.urls(), &world)?;
        ready.push((one, app));
    }
    let mut running = Running::new(mocks, backends);
    for (one, app) in ready {
        let listeners = Listeners {
            public: Listener::Tcp(one.public),
            admin: Listener::Tcp(one.admin),
        };
        running.serve(one.gateway.name, one.addresses, listeners, app);
    }
    Ok(running)
}

/// The gateways asked for, in the order of the list; a name that is none is an error.
fn chosen(fleet: &Fleet) -> Result<Vec<&'static Gateway>, String> {
    for name in fleet.only.iter().chain(fleet.overlays.keys()) {
        if !GATEWAYS.iter().any(|g| g.name == name) {
            let known: Vec<&str> = GATEWAYS.iter().map(|g| g.name).collect();
            let known = known.join(", ");
            return Err(format!("there is no gateway `{name}`, only {known}"));
        }
    }
    let asked = |g: &&Gateway| fleet.only.is_empty() || fleet.only.iter().any(|n| n == g.name);
    Ok(GATEWAYS.iter().filter(asked).collect())
}

async fn bind(ports: Ports, gateway: &'static Gateway) -> Result<Bound, String> {
    let (public, listen) = ports::bind(ports.public(gateway.number())?).await?;
    let (admin, admin_listen) = ports::bind(ports.admin(gateway.number())?).await?;
    let addresses = Addresses {
        listen,
        admin_listen,
    };
    Ok(Bound {
        gateway,
        public,
        admin,
        addresses,
    })
}

fn open(
    fleet: &Fleet,
    bound: &Bound,
    backends: &BTreeMap<Backend, String>,
    world: &Env,
) -> Result<App, String> {
    let gateway = bound.gateway;
    let named = |line: String| format!("{}: {line}", gateway.name);
    let extra = fleet.overlays.get(gateway.name).map(String::as_str);
    let overlay = overlay::of(gateway, &bound.addresses, backends, extra).map_err(named)?;
    let opened = gateway
        .open(&overlay, fleet.env.clone(), world)
        .map_err(named)?;
    keeps_its_ports(gateway, &bound.addresses, &opened.server)?;
    Ok(opened.app)
}

/// The fleet's ports are bound already: a variable that moves them would only pretend to.
fn keeps_its_ports(
    gateway: &Gateway,
    bound: &Addresses,
    server: &server::Config,
) -> Result<(), String> {
    let told = [server.listen, server.admin_listen];
    if told == [bound.listen, bound.admin_listen] {
        return Ok(());
    }
    let (name, prefix) = (gateway.name, gateway.prefix());
    Err(format!(
        "{name}: {prefix}_SERVER__LISTEN and {prefix}_SERVER__ADMIN_LISTEN do not move a fleet, --base-port does"
    ))
}
