//! Connections over TLS, HTTP/2 or HTTP/1.1, which hyper-util's client keeps and shares.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{Answer, no_response, read};
use crate::net::Connector;
use crate::outbound::{BaseUrl, Config, Failure, TrustRoots};

/// The connections over TLS to one instance.
#[derive(Debug)]
pub(crate) struct Tls {
    client: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    url: BaseUrl,
}

impl Tls {
    pub(super) fn new(config: &Config, dial: Connector, trust: &TrustRoots) -> Self {
        let connector = trust
            .connector()
            .https_only()
            .enable_all_versions()
            .wrap_connector(dial);
        // Idle connections need a timer of their own to expire.
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
        max: usize,
    ) -> Result<Answer, Failure> {
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
        read(response, max).await
    }
}
