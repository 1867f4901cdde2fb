//! Streams with a backend on the in-memory network that tests control frame by frame.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderValue, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::*;
use bff_context::context::{Deadline, Env, RequestContextParts, RequestId, Trace, Urgency};
use bff_context::error::codes;
use bff_context::scope::{Language, Public, Region};
use bff_runtime::net::{Connection, InMemoryNetwork, Net};

const IDLE: Duration = Duration::from_secs(30);
const HEAD: Duration = Duration::from_secs(5);

/// A codec whose messages are plain text.
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let text = String::from_utf8(bytes.into());
        text.map(Some)
            .map_err(|_| Status::internal("no UTF-8 in the message"))
    }
}

/// The backend's side of a stream. Dropping it ends the response without a status.
struct ServerStream {
    headers: HeaderMap,
    body: Incoming,
    frames: mpsc::Sender<Frame<Bytes>>,
}

impl ServerStream {
    async fn send(&self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    async fn send_bytes(&self, bytes: &[u8]) {
        let mut message = vec![0];
        message.put_u32(u32::try_from(bytes.len()).unwrap());
        message.put_slice(bytes);
        self.frames.send(Frame::data(message.into())).await.unwrap();
    }

    async fn end(self, status: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        self.frames.send(Frame::trailers(trailers)).await.unwrap();
    }

    /// The next message of the client; `None` after the client closed its half.
    async fn recv(&mut self) -> Option<String> {
        use http_body_util::BodyExt;
        let data = self.body.frame().await?.unwrap().into_data().unwrap();
        // The last frame of a stream is empty.
        Some(String::from_utf8_lossy(data.get(5..)?).into_owned())
    }

    /// The reason of the client's reset, if that is the next event.
    async fn reset_reason(&mut self) -> Option<h2::Reason> {
        use http_body_util::BodyExt;
        let error = self.body.frame().await?.err()?;
        let cause = std::error::Error::source(&error)?.downcast_ref::<h2::Error>();
        cause?.reason()
    }
}

struct Scene {
    cx: RequestContext,
    up: Upstream,
    accepted: mpsc::UnboundedReceiver<ServerStream>,
}

impl Scene {
    /// A backend that sends response headers at once. It rejects the first `rejected` streams as unavailable.
    fn new(rejected: usize, change: impl FnOnce(&mut Config)) -> Self {
        crate::clients::trust_roots::install_tls_provider();
        let network = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let (sender, accepted) = mpsc::unbounded_channel();
        tokio::spawn(serve(network.listen("backend:80"), rejected, sender));
        let shared = Arc::new(GatewayHandles::in_process(
            "test",
            Env::seeded(7, Net::InMemory(network)),
        ));
        let mut config = Config::at("http://backend".parse().unwrap());
        change(&mut config);
        let up = Upstream::new("backend", &config, &shared).unwrap();
        let cx = RequestContext::open(RequestContextParts {
            request_id: RequestId::generate(&shared.env),
            trace: Trace::begin(&shared.env),
            deadline: Deadline::Stream {
                head: Instant::now() + HEAD,
                idle: IDLE,
            },
            urgency: Urgency::DEFAULT,
            language: Language::UNDETERMINED,
            region: Region::NONE,
            caller: None,
            client: shared.client.clone(),
            public_url: Arc::from(""),
            uri: http::Uri::default(),
            shutdown: CancellationToken::new(),
        });
        Self { cx, up, accepted }
    }

    async fn open(
        &self,
        call: Call<Public, String>,
    ) -> Result<BidiStream<String, String>, Failure> {
        open_stream(&self.cx, &self.up, call, || Text, Ok).await
    }

    /// Opens a stream and returns both of its sides.
    async fn open_pair(&mut self) -> (BidiStream<String, String>, ServerStream) {
        let client = self.open(hello()).await.unwrap();
        (client, self.accepted.recv().await.unwrap())
    }
}

fn hello() -> Call<Public, String> {
    Call::write(Public, "/test.Talks/Talk", "hello".to_owned())
}

async fn serve(
    mut listener: bff_runtime::net::Listener,
    rejected: usize,
    accepted: mpsc::UnboundedSender<ServerStream>,
) {
    let to_reject = Arc::new(AtomicUsize::new(rejected));
    while let Some(connection) = listener.next().await {
        let (accepted, to_reject) = (accepted.clone(), to_reject.clone());
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let (head, body) = request.into_parts();
            let (frames, frame_receiver) = mpsc::channel(8);
            let headers = head.headers;
            accepted
                .send(ServerStream {
                    headers,
                    body,
                    frames,
                })
                .ok();
            let response_body = futures_util::stream::unfold(frame_receiver, |mut frames| async {
                Some((Ok::<_, Infallible>(frames.recv().await?), frames))
            });
            let mut response = Response::new(StreamBody::new(response_body));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", grpc);
            if to_reject
                .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1))
                .is_ok()
            {
                let unavailable = HeaderValue::from_static("14");
                response.headers_mut().insert("grpc-status", unavailable);
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(connection), service);
        tokio::spawn(serving);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_continues_after_the_deadline_and_ends_with_ok() {
    let mut scene = Scene::new(0, |_| {});
    let (mut client, mut server) = scene.open_pair().await;
    assert!(
        !server.headers.contains_key("grpc-timeout"),
        "it would limit the whole stream"
    );
    assert!(server.headers.contains_key("traceparent"));
    assert_eq!(server.recv().await.unwrap(), "hello");
    for _ in 0..10 {
        server.send("ping").await;
        assert_eq!(client.recv().await.unwrap().unwrap(), "ping");
        tokio::time::sleep(IDLE * 9 / 10).await;
        assert!(client.send("pong".to_owned()).await);
        assert_eq!(server.recv().await.unwrap(), "pong");
    }
    server.end("0").await;
    assert!(client.recv().await.is_none());
    assert!(!client.send("late".to_owned()).await);
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_ends_and_cancels_a_stream() {
    let mut scene = Scene::new(0, |_| {});
    let (mut client, server) = scene.open_pair().await;
    let started = Instant::now();
    let failure = client.recv().await.unwrap().unwrap_err();
    assert_eq!(
        (failure.reason(), failure.source()),
        (Reason::Timeout, "backend")
    );
    assert_eq!(started.elapsed().as_secs(), IDLE.as_secs());
    server.frames.closed().await;
    assert!(client.recv().await.is_none(), "a failure ends the stream");
}

#[tokio::test(start_paused = true)]
async fn a_drop_resets_the_stream_and_a_close_does_not() {
    let mut scene = Scene::new(0, |_| {});
    let (client, mut server) = scene.open_pair().await;
    server.recv().await;
    drop(client);
    assert_eq!(server.reset_reason().await, Some(h2::Reason::CANCEL));
    let (mut client, mut server) = scene.open_pair().await;
    server.recv().await;
    client.close();
    assert_eq!(server.recv().await, None);
    server.send("last").await;
    assert_eq!(client.recv().await.unwrap().unwrap(), "last");
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_status_is_a_failure() {
    let mut scene = Scene::new(0, |_| {});
    let (mut client, server) = scene.open_pair().await;
    drop(server);
    let failure = client.recv().await.unwrap().unwrap_err();
    assert_eq!(failure.reason(), Reason::BadResponse);
    assert_eq!(failure.error().code(), codes::OUTCOME_UNKNOWN, "of a write");
    let (mut client, server) = scene.open_pair().await;
    server.end("3").await;
    let rejected = client.recv().await.unwrap().unwrap_err();
    assert_eq!(rejected.upstream_status().map(|s| s.as_u16()), Some(422));
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_holds_a_stream_slot() {
    let one = |config: &mut Config| config.bulkhead.max_streams = NonZeroU32::MIN;
    let mut scene = Scene::new(0, one);
    let (client, server) = scene.open_pair().await;
    let rejected = scene.open(hello()).await.unwrap_err();
    assert_eq!(rejected.reason(), Reason::Overloaded);
    drop(client);
    server.frames.closed().await;
    scene.open_pair().await;
}

#[tokio::test(start_paused = true)]
async fn the_size_of_a_message_is_limited() {
    let mut scene = Scene::new(0, |config| config.max_body_bytes = 100);
    let (mut client, server) = scene.open_pair().await;
    server.send(&"x".repeat(100)).await;
    assert_eq!(client.recv().await.unwrap().unwrap().len(), 100);
    server.send(&"x".repeat(101)).await;
    let failure = client.recv().await.unwrap().unwrap_err();
    assert_eq!(failure.reason(), Reason::BadResponse);
}

#[tokio::test(start_paused = true)]
async fn opening_is_retried_if_the_call_is_idempotent() {
    let mut scene = Scene::new(1, |_| {});
    let client = scene.open(hello().idempotent()).await.unwrap();
    for _ in 0..2 {
        let mut server = scene.accepted.recv().await.unwrap();
        assert_eq!(server.recv().await.unwrap(), "hello", "in each attempt");
    }
    drop(client);
    let mut once = Scene::new(1, |_| {});
    let rejected = once.open(hello()).await.unwrap_err();
    assert_eq!(rejected.reason(), Reason::Unavailable);
    assert!(once.accepted.recv().await.is_some() && once.accepted.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn recv_only_needs_one_message_and_the_status_ok() {
    for (messages, status, is_ok) in [
        (1, "0", true),
        (0, "0", false),
        (2, "0", false),
        (1, "13", false),
    ] {
        let mut scene = Scene::new(0, |_| {});
        let (client, mut server) = scene.open_pair().await;
        let backend = async {
            server.recv().await;
            assert_eq!(server.recv().await, None, "the client closed its half");
            for _ in 0..messages {
                server.send("noted").await;
            }
            server.end(status).await;
        };
        let (result, ()) = tokio::join!(client.recv_only(), backend);
        assert_eq!(result.is_ok(), is_ok, "{messages} {status} {result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_decode_does_not_count_against_the_backend() {
    for (message, status, is_damaged) in [
        (&b"caf\xe9"[..], "0", false),
        (b"inconvertible", "0", false),
        (b"fine", "13", true),
    ] {
        let mut scene = Scene::new(0, |config| {
            let consecutive_failures = std::num::NonZeroU32::new(3).unwrap();
            config.circuit_breaker.consecutive_failures = consecutive_failures;
        });
        let convert = |text: String| match text.as_str() {
            "inconvertible" => Err("inconvertible"),
            _ => Ok(text),
        };
        for _ in 0..4 {
            let call = Call::read(Public, "/test.Talks/Say", "hello".to_owned());
            let result = scene.up.send(&scene.cx, call, || Text, convert);
            let backend = async {
                if let Some(server) = scene.accepted.recv().await {
                    server.send_bytes(message).await;
                    server.end(status).await;
                }
            };
            let failure = tokio::select! {
                result = async { tokio::join!(result, backend).0 } => result.unwrap_err(),
                () = tokio::time::sleep(HEAD) => break,
            };
            assert_eq!(failure.reason(), Reason::BadResponse, "{failure:?}");
        }
        let is_open = scene.up.unhealthy_reason() == Some(Reason::CircuitOpen);
        assert_eq!(is_open, is_damaged, "{message:?} {status}");
    }
}
