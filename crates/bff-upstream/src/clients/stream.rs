//! The HTTP clients of one instance.
//!
//! hyper-util's client serves streams and TLS. Tasks drive its connections, because a response body outlives its call
//! and HTTP/2 calls share a connection. Buffered calls without TLS use a [`CleartextClient`].
//!
//! Dropping a request or a response body cancels the exchange at the backend: the connection (HTTP/1.1) or the stream
//! (HTTP/2) is closed.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Authority;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::client::{BufferedResponse, CleartextClient, no_response, read_response};
use super::replay_body::AttemptBody;
use super::trust_roots::TrustRoots;
use crate::base_url::BaseUrl;
use crate::config::Config;
use bff_context::context::Failure;
use bff_runtime::net::{Connector, Net};

/// A client for connections with and without TLS.
type HttpClient = legacy::Client<HttpsConnector<Connector>, AttemptBody>;

/// The clients of one instance.
#[derive(Debug)]
pub struct InstanceClients {
    /// The client for buffered responses, if the backend has no TLS.
    cleartext: Option<Box<CleartextClient>>,
    /// The client for everything else, created with its first request. With TLS it negotiates HTTP/2 or HTTP/1.1.
    shared: OnceLock<Box<HttpClient>>,
    /// The same for requests that HTTP/2 cannot express, if the backend has TLS.
    http1_only: OnceLock<Box<HttpClient>>,
    connector: Connector,
    url: BaseUrl,
    trust_roots: TrustRoots,
    idle_timeout: Duration,
    max_headers: usize,
}

impl InstanceClients {
    /// Creates the clients of the instance at `address`, which connect over `net`.
    pub(crate) fn new(
        config: &Config,
        net: &Net,
        address: &Authority,
        trust_roots: &TrustRoots,
    ) -> Self {
        let connector =
            Connector::new(net.clone(), config.connect_timeout).with_address(address.clone());
        let cleartext = !config.url.is_tls();
        Self {
            cleartext: cleartext.then(|| Box::new(CleartextClient::new(config, connector.clone()))),
            shared: OnceLock::new(),
            http1_only: OnceLock::new(),
            connector,
            url: config.url.clone(),
            trust_roots: trust_roots.clone(),
            idle_timeout: config.idle_timeout,
            max_headers: config.http1_max_headers,
        }
    }

    /// Sends a request in origin form and reads the response body of at most `max_body_bytes`.
    ///
    /// The future is boxed here: it is the largest part of a call, and every policy around an attempt would move it.
    pub(crate) fn exchange_buffered(
        &self,
        request: Request<Full<Bytes>>,
        max_body_bytes: usize,
    ) -> BoxFuture<'_, Result<BufferedResponse, Failure>> {
        match &self.cleartext {
            Some(client) => Box::pin(client.exchange(request, max_body_bytes)),
            None => Box::pin(async move {
                let request = request.map(AttemptBody::Buffered);
                let response = self.exchange(request, false).await?;
                read_response(response, max_body_bytes).await
            }),
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
        let client = if http1_only && self.url.is_tls() {
            self.http1_only.get_or_init(|| self.build_client(true))
        } else {
            self.shared.get_or_init(|| self.build_client(false))
        };
        client.request(request).await.map_err(|error| {
            let failure = no_response(&error);
            if error.is_connect() {
                failure.not_sent()
            } else {
                failure
            }
        })
    }

    fn build_client(&self, http1_only: bool) -> Box<HttpClient> {
        let connector = self.connector.clone();
        let tls = self.trust_roots.connector().https_or_http();
        let connector = if http1_only {
            tls.enable_http1().wrap_connector(connector)
        } else {
            tls.enable_all_versions().wrap_connector(connector)
        };
        // The pool needs its own timer, or idle connections never expire.
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .http1_max_headers(self.max_headers)
            .build(connector);
        Box::new(client)
    }
}
