//! The HTTP clients for streaming bodies. Tasks drive their connections, because a response body outlives its call.
//!
//! Dropping a request or a response body cancels the exchange at the backend: the connection (HTTP/1.1) or the stream
//! (HTTP/2) is closed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::base_url::BaseUrl;
use crate::clients::client::Client;
use crate::clients::replay_body::AttemptBody;
use crate::clients::trust_roots::TrustRoots;
use crate::config::Config;
use crate::endpoints::balance::Instance;
use crate::policies::policy::Policy;
use bff_context::context::{Failure, Reason};
use bff_runtime::net::{Connector, Net};

/// The clients of one instance: one for buffered responses, and one for streams, created with the first stream.
#[derive(Debug)]
pub struct InstanceClients {
    pub(crate) buffered: Client,
    streaming: OnceLock<StreamingClients>,
    connector: Connector,
    url: BaseUrl,
    trust_roots: TrustRoots,
    idle_timeout: Duration,
}

impl InstanceClients {
    /// Creates the clients of the instance at `address`, which connect over `net`.
    pub(crate) fn new(
        config: &Config,
        net: &Net,
        address: &Authority,
        trust_roots: &TrustRoots,
    ) -> Self {
        Self {
            buffered: Client::new(config, net, address, trust_roots),
            streaming: OnceLock::new(),
            connector: Connector::new(net.clone(), config.connect_timeout)
                .with_address(address.clone()),
            url: config.url.clone(),
            trust_roots: trust_roots.clone(),
            idle_timeout: config.idle_timeout,
        }
    }

    /// Sends a request in origin form and returns as soon as the response headers are there.
    ///
    /// `http1_only` forces HTTP/1.1.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<AttemptBody>,
        http1_only: bool,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(target) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = self.url.absolute(target).map_err(Failure::internal)?;
        }
        let clients = self.streaming.get_or_init(|| self.streaming_clients());
        let response = match clients {
            StreamingClients::Cleartext(client) => client.request(request),
            StreamingClients::Tls { http1, .. } if http1_only => http1.request(request),
            StreamingClients::Tls { negotiated, .. } => negotiated.request(request),
        };
        response.await.map_err(|error| no_response(&error))
    }

    fn streaming_clients(&self) -> StreamingClients {
        if !self.url.is_tls() {
            return StreamingClients::Cleartext(self.build_client(self.connector.clone()));
        }
        let tls = || self.trust_roots.connector().https_only();
        let negotiated = tls()
            .enable_all_versions()
            .wrap_connector(self.connector.clone());
        let http1 = tls().enable_http1().wrap_connector(self.connector.clone());
        StreamingClients::Tls {
            negotiated: self.build_client(negotiated),
            http1: self.build_client(http1),
        }
    }

    fn build_client<C: Connect + Clone>(
        &self,
        connector: C,
    ) -> Box<legacy::Client<C, AttemptBody>> {
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .build(connector);
        Box::new(client)
    }
}

#[derive(Debug)]
enum StreamingClients {
    Cleartext(Box<legacy::Client<Connector, AttemptBody>>),
    Tls {
        /// HTTP/2 or HTTP/1.1, negotiated with ALPN.
        negotiated: Box<legacy::Client<HttpsConnector<Connector>, AttemptBody>>,
        /// HTTP/1.1 only, for requests that HTTP/2 cannot express.
        http1: Box<legacy::Client<HttpsConnector<Connector>, AttemptBody>>,
    },
}

/// The failure of a request without a response.
fn no_response(error: &legacy::Error) -> Failure {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let failure = Failure::new(Reason::Unavailable).with_cause(cause.to_string());
    if error.is_connect() {
        failure.not_sent()
    } else {
        failure
    }
}

/// Counts an exchange as in flight after its attempt, until this guard is dropped.
#[derive(Debug)]
pub struct InFlightGuard<T: Send + Sync + 'static> {
    policy: Arc<Policy<T>>,
    instance: Arc<Instance<T>>,
    streaming: bool,
}

impl<T: Send + Sync + 'static> InFlightGuard<T> {
    /// Acquires a bulkhead permit, of the streams or of the calls, and counts the exchange at `instance`.
    pub fn acquire(policy: &Arc<Policy<T>>, instance: Arc<Instance<T>>, streaming: bool) -> Self {
        policy.acquire(&instance, streaming);
        let policy = policy.clone();
        Self {
            policy,
            instance,
            streaming,
        }
    }
}

impl<T: Send + Sync + 'static> Drop for InFlightGuard<T> {
    fn drop(&mut self) {
        self.policy.release(&self.instance, self.streaming);
    }
}
