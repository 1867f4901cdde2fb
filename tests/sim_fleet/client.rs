//! A client of the simulated fleet: each request has its own connection.

use bff_core::net::Connection;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use services_mock::Backend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{SimFleet, address};
use crate::support::JsonResponse;

impl SimFleet {
    /// Sends a GET to a gateway.
    pub(crate) async fn get(&self, gateway: &str, path: &str) -> JsonResponse {
        self.get_with(gateway, path, &[]).await
    }

    /// Sends a GET with headers to a gateway.
    pub(crate) async fn get_with(
        &self,
        gateway: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> JsonResponse {
        self.send_json(gateway, "GET", path, headers, None).await
    }

    /// Sends a GET to a gateway and returns the body as text.
    pub(crate) async fn get_text(&self, gateway: &str, path: &str) -> String {
        let request = Request::get(path).header("host", address(gateway));
        let request = request.body(Full::default()).unwrap();
        let response = self.send(gateway, request).await.unwrap();
        String::from_utf8_lossy(response.body()).into_owned()
    }

    /// Posts JSON to a gateway.
    pub(crate) async fn post(&self, gateway: &str, path: &str, body: &Value) -> JsonResponse {
        let headers = [("content-type", "application/json")];
        self.send_json(gateway, "POST", path, &headers, Some(body))
            .await
    }

    async fn send_json(
        &self,
        gateway: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> JsonResponse {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers.iter().chain(&[("host", &*address(gateway))]) {
            request = request.header(*name, *value);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(body)).unwrap();
        let (head, body) = self.send(gateway, request).await.unwrap().into_parts();
        JsonResponse {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    /// Sends one request on a new connection. Dropping the future disconnects the client. The error describes the
    /// failure of the connection to the gateway.
    pub(crate) async fn send(
        &self,
        gateway: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, String> {
        exchange(self.connect(gateway).await?, with_host(request)).await
    }

    /// Sends one request on a new connection and returns a streaming response. Dropping the response disconnects the
    /// client.
    pub(crate) async fn send_streaming(
        &self,
        gateway: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let (mut sender, connection) = handshake(self.connect(gateway).await?).await?;
        tokio::spawn(connection);
        let response = sender.send_request(with_host(request)).await;
        response.map_err(|error| error.to_string())
    }

    /// Opens a connection to a gateway.
    pub(crate) async fn connect(&self, gateway: &str) -> Result<Connection, String> {
        let connection = self.env.net().connect(&address(gateway)).await;
        connection.map_err(|error| error.to_string())
    }

    /// Sends one request to a backend directly, on a connection without faults.
    pub(crate) async fn send_to_backend(
        &self,
        backend: Backend,
        request: Request<Full<Bytes>>,
    ) -> Response<Bytes> {
        let (client, server) = tokio::io::duplex(64 << 10);
        let mocks = self.mocks.clone();
        tokio::spawn(async move { services_mock::connection(&mocks, backend, server).await });
        exchange(client, request).await.unwrap()
    }
}

/// Adds the `Host` that HTTP/1.1 requires beside an absolute form.
fn with_host(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let authority = request.uri().authority().map(|a| a.as_str().parse());
    if let Some(Ok(host)) = authority {
        request.headers_mut().insert("host", host);
    }
    request
}

async fn exchange(
    io: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String> {
    let (mut sender, connection) = handshake(io).await?;
    let mut exchange = std::pin::pin!(async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::from_parts(head, body))
    });
    let result = tokio::select! {
        biased;
        result = &mut exchange => result,
        _ = connection => exchange.await,
    };
    result.map_err(|error| error.to_string())
}

/// The sender of requests, and the future that drives the connection.
type Client<IO> = (
    http1::SendRequest<Full<Bytes>>,
    http1::Connection<TokioIo<IO>, Full<Bytes>>,
);

async fn handshake<IO: AsyncRead + AsyncWrite + Unpin>(io: IO) -> Result<Client<IO>, String> {
    let client = http1::handshake(TokioIo::new(io)).await;
    client.map_err(|error| error.to_string())
}
