//! The fleet on pipes: mocks, gateways, and connections that are refused or cut by the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bff_core::config::Sources;
use bff_core::context::World;
use bff_core::net::{Accept, Net, Pipes, Wire};
use bff_core::server::{self, Listeners};
use fleet::{Addresses, GATEWAYS, overlay};
use parking_lot::Mutex;
use services_mock::{Backend, Mocks, Options};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::draw::Draw;

/// A fleet that lives as long as its runtime.
pub(crate) struct Town {
    pub(crate) net: Net,
    pub(crate) mocks: Mocks,
    pub(crate) broken: Broken,
}

/// The backends at which a connection was refused or cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken(Arc<Mutex<BTreeSet<String>>>);

impl Broken {
    fn note(&self, name: &str) {
        let host = name.split('.').next().unwrap_or_default();
        self.0.lock().insert(host.to_owned());
    }

    /// Whether any connection to the backend was.
    pub(crate) fn has(&self, backend: &str) -> bool {
        self.0.lock().contains(backend)
    }
}

/// Where a gateway is found on the pipes.
pub(crate) fn authority(gateway: &str) -> String {
    format!("{gateway}-bff.sim:80")
}

/// Starts everything; with `frail` connections break as the seed says.
pub(crate) fn start(seed: u64, frail: bool) -> Town {
    bff_core::auth::install_crypto();
    let broken = Broken::default();
    let pipes = Pipes::new({
        let broken = broken.clone();
        move |name, ordinal, pipe| {
            if frail {
                dialled(seed, name, ordinal, pipe, &broken)
            } else {
                Ok(Wire::Pipe(Box::new(pipe)))
            }
        }
    });
    let net = Net::Pipes(pipes.clone());
    let world = World::seeded(seed, net.clone());
    let urls: BTreeMap<Backend, String> = Backend::ALL
        .into_iter()
        .map(|b| (b, format!("http://{}.sim:80", b.name())))
        .collect();
    let mocks = Mocks::new(Options {
        seed,
        issuer: urls[&Backend::Auth].clone(),
        epoch: world.now().into(),
    });
    for backend in Backend::ALL {
        let mut accept = pipes.listen(&format!("{}.sim:80", backend.name()));
        let mocks = mocks.clone();
        tokio::spawn(async move {
            while let Some(wire) = accept.next().await {
                let mocks = mocks.clone();
                tokio::spawn(async move { services_mock::connection(&mocks, backend, wire).await });
            }
        });
    }
    for gateway in GATEWAYS {
        gateway_on(&pipes, gateway, &urls, &world);
    }
    Town { net, mocks, broken }
}

fn gateway_on(
    pipes: &Arc<Pipes>,
    gateway: &'static fleet::Gateway,
    urls: &BTreeMap<Backend, String>,
    world: &World,
) {
    let addresses = Addresses {
        listen: ([127, 0, 0, 1], 8080).into(),
        admin_listen: ([127, 0, 0, 1], 9080).into(),
    };
    let overlay = overlay::of(gateway, &addresses, urls, None).unwrap();
    let sources = Sources {
        prefix: gateway.prefix,
        defaults: gateway.defaults,
        overlay: Some(&overlay),
        file: None,
        env: Vec::new(),
    };
    let app = (gateway.open)(&sources, world).unwrap().app;
    let public: Accept = pipes.listen(&authority(gateway.name));
    let admin = pipes.listen(&format!("{}-admin.sim:80", gateway.name));
    let listeners = Listeners { public, admin };
    tokio::spawn(server::serve(listeners, app, std::future::pending()));
}

/// One connection in twenty to a backend is refused, another is cut after some bytes of its answers.
/// Clients' own connections, and the issuer's, stand.
fn dialled(
    seed: u64,
    name: &str,
    ordinal: u64,
    pipe: DuplexStream,
    broken: &Broken,
) -> io::Result<Wire> {
    let mut draw = Draw::of(seed, name, ordinal);
    if name.contains("-bff") || name.starts_with("auth.") {
        return Ok(Wire::Pipe(Box::new(pipe)));
    }
    match draw.below(20) {
        0 => {
            broken.note(name);
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        1 => {
            broken.note(name);
            let left = usize::try_from(draw.below(6000)).unwrap_or(0);
            Ok(Wire::Pipe(Box::new(Cut { pipe, left })))
        }
        _ => Ok(Wire::Pipe(Box::new(pipe))),
    }
}

/// A connection that is reset after so many bytes were read from it.
struct Cut {
    pipe: DuplexStream,
    left: usize,
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut bytes = vec![0; self.left.min(buf.remaining())];
        let mut piece = ReadBuf::new(&mut bytes);
        let polled = Pin::new(&mut self.pipe).poll_read(cx, &mut piece);
        buf.put_slice(piece.filled());
        self.left -= piece.filled().len();
        polled
    }
}

impl AsyncWrite for Cut {
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
