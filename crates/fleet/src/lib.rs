//! The development fleet: the mocked backends and the gateways in one process.
//!
//! [`start`] binds every port first, so an unavailable port is reported at once. Then it builds each gateway from its
//! compiled-in configuration, the fleet's development overlay ([`overlay`]) and the environment.
//!
//! Read this file first, then `overlay.rs` and `running.rs`.

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

/// The options of a fleet.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The ports. Default: the documented ports.
    pub ports: Ports,
    /// The names of the gateways to run. Default: empty, for all gateways.
    pub only: Vec<String>,
    /// The URLs of real backends that replace their mocks.
    pub real: BTreeMap<Backend, String>,
    /// Additional TOML configuration by gateway name. It overrides the fleet's overlay.
    pub overlays: BTreeMap<String, String>,
    /// The environment variables of the gateways. Default: empty.
    pub env: Vec<(String, String)>,
    /// The seed of the mocks.
    pub seed: u64,
}

/// The two bound ports of a gateway that is not built yet.
struct BoundGateway {
    gateway: &'static Gateway,
    public: TcpListener,
    admin: TcpListener,
    addresses: Addresses,
}

/// Starts the fleet. It returns when every port accepts connections. The error is one line.
pub async fn start(fleet: Fleet) -> Result<Running, String> {
    bff_core::auth::install_crypto();
    let selected = selected_gateways(&fleet)?;
    let backends = running::Backends::bind(fleet.ports, &fleet.real).await?;
    let mut bound = Vec::new();
    for gateway in selected {
        bound.push(bind(fleet.ports, gateway).await?);
    }
    let env = Env::real();
    let mocks = Mocks::new(services_mock::Options {
        seed: fleet.seed,
        issuer: backends.issuer().to_owned(),
        epoch: env.now().into(),
    });
    let mut built = Vec::new();
    for gateway in bound {
        let app = build(&fleet, &gateway, backends.urls(), &env)?;
        built.push((gateway, app));
    }
    let mut running = Running::new(mocks, backends);
    for (bound, app) in built {
        let listeners = Listeners {
            public: Listener::Tcp(bound.public),
            admin: Listener::Tcp(bound.admin),
        };
        running.serve(bound.gateway.name, bound.addresses, listeners, app);
    }
    Ok(running)
}

/// The selected gateways in the order of the list. An unknown name is an error.
fn selected_gateways(fleet: &Fleet) -> Result<Vec<&'static Gateway>, String> {
    for name in fleet.only.iter().chain(fleet.overlays.keys()) {
        if !GATEWAYS.iter().any(|g| g.name == name) {
            let names: Vec<&str> = GATEWAYS.iter().map(|g| g.name).collect();
            let names = names.join(", ");
            return Err(format!(
                "unknown gateway `{name}`; the gateways are {names}"
            ));
        }
    }
    let is_selected =
        |g: &&Gateway| fleet.only.is_empty() || fleet.only.iter().any(|n| n == g.name);
    Ok(GATEWAYS.iter().filter(is_selected).collect())
}

async fn bind(ports: Ports, gateway: &'static Gateway) -> Result<BoundGateway, String> {
    let (public, listen) = ports::bind(ports.public(gateway.number())?).await?;
    let (admin, admin_listen) = ports::bind(ports.admin(gateway.number())?).await?;
    let addresses = Addresses {
        listen,
        admin_listen,
    };
    Ok(BoundGateway {
        gateway,
        public,
        admin,
        addresses,
    })
}

fn build(
    fleet: &Fleet,
    bound: &BoundGateway,
    backends: &BTreeMap<Backend, String>,
    env: &Env,
) -> Result<App, String> {
    let gateway = bound.gateway;
    let with_name = |line: String| format!("{}: {line}", gateway.name);
    let extra = fleet.overlays.get(gateway.name).map(String::as_str);
    let overlay = overlay::build(gateway, &bound.addresses, backends, extra).map_err(with_name)?;
    let opened = gateway
        .open(&overlay, fleet.env.clone(), env)
        .map_err(with_name)?;
    reject_moved_ports(gateway, &bound.addresses, &opened.server)?;
    Ok(opened.app)
}

/// Rejects environment variables that set other ports: the fleet's ports are already bound.
fn reject_moved_ports(
    gateway: &Gateway,
    bound: &Addresses,
    server: &server::Config,
) -> Result<(), String> {
    let configured = [server.listen, server.admin_listen];
    if configured == [bound.listen, bound.admin_listen] {
        return Ok(());
    }
    let (name, prefix) = (gateway.name, gateway.prefix());
    Err(format!(
        "{name}: {prefix}_SERVER__LISTEN and {prefix}_SERVER__ADMIN_LISTEN are not supported here; use --base-port"
    ))
}
