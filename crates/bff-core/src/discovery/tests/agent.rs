//! A Consul agent that answers what it was told to, one reply after the other, and blocks when it has none.

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

use super::{Arc, soon};
use crate::net::Listener;

/// One answer to come.
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
            let yes = http::HeaderValue::from_static("true");
            headers.insert("x-consul-results-filtered-by-acls", yes);
        }
        response
    }
}

/// One question.
pub(super) struct Asked {
    pub(super) target: String,
    pub(super) token: Option<String>,
    pub(super) at: Instant,
}

impl Asked {
    pub(super) fn index(&self) -> Option<u64> {
        let (_, rest) = self.target.split_once("&index=")?;
        Some(rest.split('&').next()?.parse().unwrap())
    }
}

/// The agent.
pub(super) struct FakeAgent {
    pub(super) url: String,
    asked: mpsc::UnboundedReceiver<Asked>,
    replies: mpsc::UnboundedSender<Reply>,
}

struct Script {
    asked: mpsc::UnboundedSender<Asked>,
    replies: Mutex<mpsc::UnboundedReceiver<Reply>>,
}

impl FakeAgent {
    /// One on a socket.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::on(Listener::Tcp(listener), &url)
    }

    /// One on any network.
    pub(super) fn on(mut accept: Listener, url: &str) -> Self {
        let (to_asked, asked) = mpsc::unbounded_channel();
        let (replies, from_replies) = mpsc::unbounded_channel();
        let script = Script {
            asked: to_asked,
            replies: Mutex::new(from_replies),
        };
        let router = Router::new().fallback(answer).with_state(Arc::new(script));
        tokio::spawn(async move {
            while let Some(wire) = accept.next().await {
                let service = TowerToHyperService::new(router.clone());
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(wire), service));
            }
        });
        Self {
            url: url.to_owned(),
            asked,
            replies,
        }
    }

    /// The next question that has no reply yet gets this one.
    pub(super) fn reply(&self, reply: Reply) {
        self.replies.send(reply).ok().unwrap();
    }

    /// The next question.
    pub(super) async fn asked(&mut self) -> Asked {
        soon(self.asked.recv()).await.unwrap()
    }
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let token = request.headers().get("x-consul-token");
    let _ = script.asked.send(Asked {
        target: request.uri().to_string(),
        token: token.map(|t| t.to_str().unwrap().to_owned()),
        at: Instant::now(),
    });
    match script.replies.lock().await.recv().await {
        Some(reply) => reply.into_response(),
        None => std::future::pending().await,
    }
}

/// An entry as Consul lists it.
pub(super) fn instance(address: &str, port: u16) -> Value {
    json!({
        "Node": {"Node": "n", "Address": "127.0.0.1", "Meta": {}},
        "Service": {"ID": "i", "Service": "alpha", "Address": address, "Port": port},
        "Checks": [],
    })
}
