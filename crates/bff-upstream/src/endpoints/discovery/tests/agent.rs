//! A fake Consul agent that sends scripted replies in order, and blocks while it has none.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::{Arc, with_timeout};
use bff_runtime::net::Listener;

/// A scripted reply.
pub(super) struct Reply {
    status: StatusCode,
    index: Option<u64>,
    filtered: bool,
    body: Value,
}

impl Reply {
    pub(super) fn ok(index: u64, body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            index: Some(index),
            filtered: false,
            body,
        }
    }

    pub(super) fn without_index(body: Value) -> Self {
        Self {
            index: None,
            ..Self::ok(0, body)
        }
    }

    pub(super) fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            ..Self::ok(1, json!([]))
        }
    }

    pub(super) fn filtered(self) -> Self {
        Self {
            filtered: true,
            ..self
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body.to_string()).into_response();
        let headers = response.headers_mut();
        if let Some(index) = self.index {
            headers.insert("x-consul-index", index.into());
        }
        if self.filtered {
            let filtered = http::HeaderValue::from_static("true");
            headers.insert("x-consul-results-filtered-by-acls", filtered);
        }
        response
    }
}

/// A received query.
pub(super) struct Query {
    pub(super) target: String,
    pub(super) token: Option<String>,
    pub(super) at: Instant,
}

impl Query {
    pub(super) fn index(&self) -> Option<u64> {
        let (_, rest) = self.target.split_once("&index=")?;
        Some(rest.split('&').next()?.parse().unwrap())
    }
}

/// The fake agent.
pub(super) struct FakeAgent {
    pub(super) url: String,
    queries: mpsc::UnboundedReceiver<Query>,
    replies: mpsc::UnboundedSender<Reply>,
}

struct Script {
    queries: mpsc::UnboundedSender<Query>,
    replies: Mutex<mpsc::UnboundedReceiver<Reply>>,
}

impl FakeAgent {
    /// Starts an agent on a socket.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::on(Listener::Tcp(listener), &url)
    }

    /// Starts an agent on any listener.
    pub(super) fn on(mut listener: Listener, url: &str) -> Self {
        let (query_sender, queries) = mpsc::unbounded_channel();
        let (replies, reply_receiver) = mpsc::unbounded_channel();
        let script = Script {
            queries: query_sender,
            replies: Mutex::new(reply_receiver),
        };
        let router = Router::new().fallback(handle).with_state(Arc::new(script));
        tokio::spawn(async move {
            while let Some(connection) = listener.next().await {
                let service = TowerToHyperService::new(router.clone());
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(connection), service));
            }
        });
        Self {
            url: url.to_owned(),
            queries,
            replies,
        }
    }

    /// Adds a reply to the script, for the next query without a reply.
    pub(super) fn reply(&self, reply: Reply) {
        self.replies.send(reply).ok().unwrap();
    }

    /// Waits for the next query.
    pub(super) async fn next_query(&mut self) -> Query {
        with_timeout(self.queries.recv()).await.unwrap()
    }
}

async fn handle(State(script): State<Arc<Script>>, request: Request) -> Response {
    let token = request.headers().get("x-consul-token");
    let _ = script.queries.send(Query {
        target: request.uri().to_string(),
        token: token.map(|t| t.to_str().unwrap().to_owned()),
        at: Instant::now(),
    });
    match script.replies.lock().await.recv().await {
        Some(reply) => reply.into_response(),
        None => std::future::pending().await,
    }
}

/// A health entry in Consul's format.
pub(super) fn instance(address: &str, port: u16) -> Value {
    json!({
        "Node": {"Node": "n", "Address": "127.0.0.1", "Meta": {}},
        "Service": {"ID": "i", "Service": "alpha", "Address": address, "Port": port},
        "Checks": [],
    })
}
