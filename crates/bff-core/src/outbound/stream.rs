//! Exchanges whose bodies stream, beside the client that reads whole ones: their connections are driven by tasks of
//! their own, for an answer's body outlives the call that asked for it.
//!
//! Dropping a request or an answer's body closes its connection, which is how the backend learns that nobody waits.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::balance::Instance;
use super::replay_body::AttemptBody;
use super::{BaseUrl, Client, Config, Failure, Policy, Reason, TrustRoots};
use crate::net::{Connector, Net};

/// What is kept for one instance: the client of whole answers, and that of streams from the first stream on.
#[derive(Debug)]
pub(crate) struct InstanceClients {
    pub(super) whole: Client,
    streams: OnceLock<Streams>,
    dial: Connector,
    url: BaseUrl,
    trust: TrustRoots,
    idle_timeout: Duration,
}

impl InstanceClients {
    /// Clients of the instance at `address`, over `net`.
    pub(super) fn new(config: &Config, net: &Net, address: &Authority, trust: &TrustRoots) -> Self {
        Self {
            whole: Client::new(config, net, address, trust),
            streams: OnceLock::new(),
            dial: Connector::new(net.clone(), config.connect_timeout).to(address.clone()),
            url: config.url.clone(),
            trust: trust.clone(),
            idle_timeout: config.idle_timeout,
        }
    }

    /// Sends a request whose target is in origin form; answers when the head of the answer is there. `plain_1` asks
    /// for HTTP/1.1 whatever the backend would rather speak.
    pub(super) async fn exchange(
        &self,
        mut request: Request<AttemptBody>,
        plain_1: bool,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(target) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = self.url.absolute(target).map_err(Failure::internal)?;
        }
        let streams = self.streams.get_or_init(|| self.streams());
        let sent = match streams {
            Streams::Clear(client) => client.request(request),
            Streams::Tls { one, .. } if plain_1 => one.request(request),
            Streams::Tls { any, .. } => any.request(request),
        };
        sent.await.map_err(|error| unanswered(&error))
    }

    fn streams(&self) -> Streams {
        if !self.url.is_tls() {
            return Streams::Clear(self.client(self.dial.clone()));
        }
        let tls = || self.trust.connector().https_only();
        let any = tls()
            .enable_all_versions()
            .wrap_connector(self.dial.clone());
        let one = tls().enable_http1().wrap_connector(self.dial.clone());
        Streams::Tls {
            any: self.client(any),
            one: self.client(one),
        }
    }

    fn client<C: Connect + Clone>(&self, connector: C) -> Box<legacy::Client<C, AttemptBody>> {
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .build(connector);
        Box::new(client)
    }
}

#[derive(Debug)]
enum Streams {
    Clear(Box<legacy::Client<Connector, AttemptBody>>),
    Tls {
        /// HTTP/2 or HTTP/1.1, as the backend likes.
        any: Box<legacy::Client<HttpsConnector<Connector>, AttemptBody>>,
        /// HTTP/1.1, for what HTTP/2 has no words for.
        one: Box<legacy::Client<HttpsConnector<Connector>, AttemptBody>>,
    },
}

/// Nothing was answered.
fn unanswered(error: &legacy::Error) -> Failure {
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

/// A place held at a backend until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard<T: Send + Sync + 'static> {
    policy: Arc<Policy<T>>,
    instance: Arc<Instance<T>>,
    lasting: bool,
}

impl<T: Send + Sync + 'static> InFlightGuard<T> {
    /// Holds a place at `instance` from now on: among the streams if it is `lasting`, else among the calls.
    pub(crate) fn at(policy: &Arc<Policy<T>>, instance: Arc<Instance<T>>, lasting: bool) -> Self {
        policy.stay(&instance, lasting);
        let policy = policy.clone();
        Self {
            policy,
            instance,
            lasting,
        }
    }
}

impl<T: Send + Sync + 'static> Drop for InFlightGuard<T> {
    fn drop(&mut self) {
        self.policy.leave(&self.instance, self.lasting);
    }
}
