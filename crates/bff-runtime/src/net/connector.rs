//! The connector of every outbound client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::rt::TokioIo;

use super::{Connection, Net};

/// The connector of every outbound client: a connection to the URI's authority within `timeout`.
#[derive(Clone, Debug)]
pub struct Connector {
    net: Net,
    timeout: Duration,
    to: Option<Authority>,
}

impl Connector {
    /// Dials over `net`, giving up after `timeout`.
    pub fn new(net: Net, timeout: Duration) -> Self {
        Self {
            net,
            timeout,
            to: None,
        }
    }

    /// Dials `address` whatever the URI says: an instance of the backend that the URI names.
    #[must_use]
    pub fn to(mut self, address: Authority) -> Self {
        self.to = Some(address);
        self
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Connection>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { net, timeout, to } = self.clone();
        Box::pin(async move {
            let to = to.as_ref().or(uri.authority());
            let to = to.ok_or(io::ErrorKind::InvalidInput)?;
            let tls = uri.scheme_str() == Some("https");
            let port = to.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let authority = format!("{}:{port}", to.host());
            match tokio::time::timeout(timeout, net.connect(&authority)).await {
                Ok(wire) => wire.map(TokioIo::new),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}
