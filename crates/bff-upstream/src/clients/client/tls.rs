//! The HTTP client over TLS. hyper-util pools its connections and negotiates HTTP/2 or HTTP/1.1.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{BufferedResponse, no_response, read_response};
use crate::base_url::BaseUrl;
use crate::clients::trust_roots::TrustRoots;
use crate::config::Config;
use bff_context::context::Failure;
use bff_runtime::net::Connector;

/// The TLS client of one instance.
#[derive(Debug)]
pub(crate) struct Tls {
    client: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    url: BaseUrl,
}

impl Tls {
    pub(super) fn new(config: &Config, connector: Connector, trust_roots: &TrustRoots) -> Self {
        let connector = trust_roots
            .connector()
            .https_only()
            .enable_all_versions()
            .wrap_connector(connector);
        // The pool needs its own timer, or idle connections never expire.
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout)
            .build(connector);
        Self {
            client,
            url: config.url.clone(),
        }
    }

    pub(super) async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        max_body_bytes: usize,
    ) -> Result<BufferedResponse, Failure> {
        if let Some(target) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = self.url.absolute(target).map_err(Failure::internal)?;
        }
        let response = self.client.request(request).await.map_err(|error| {
            let failure = no_response(&error);
            if error.is_connect() {
                failure.not_sent()
            } else {
                failure
            }
        })?;
        read_response(response, max_body_bytes).await
    }
}
