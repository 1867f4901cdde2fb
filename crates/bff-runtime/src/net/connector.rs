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

/// Connects to the authority of a URI within `timeout`.
#[derive(Clone, Debug)]
pub struct Connector {
    net: Net,
    timeout: Duration,
    address: Option<Authority>,
}

impl Connector {
    /// A connector over `net` with a time limit.
    pub fn new(net: Net, timeout: Duration) -> Self {
        Self {
            net,
            timeout,
            address: None,
        }
    }

    /// Connects to `address` instead of the URI's authority: an instance of the backend that the URI names.
    #[must_use]
    pub fn with_address(mut self, address: Authority) -> Self {
        self.address = Some(address);
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
        let Self {
            net,
            timeout,
            address,
        } = self.clone();
        Box::pin(async move {
            let address = address.as_ref().or(uri.authority());
            let address = address.ok_or(io::ErrorKind::InvalidInput)?;
            let tls = uri.scheme_str() == Some("https");
            let port = address.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let authority = format!("{}:{port}", address.host());
            match tokio::time::timeout(timeout, net.connect(&authority)).await {
                Ok(connection) => connection.map(TokioIo::new),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}
