//! Conversations with a backend on a pipe that does what a test tells it to, frame by frame.

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
use tokio_util::task::TaskTracker;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::*;
use crate::context::{Deadline, Env, RequestContextParts, RequestId, Trace, Urgency};
use crate::error::codes;
use crate::net::{Connection, InMemoryNetwork, Net};
use crate::scope::{Language, Public, Region};
use crate::telemetry::Metrics;

const IDLE: Duration = Duration::from_secs(30);
const HEAD: Duration = Duration::from_secs(5);

/// Messages that are text.
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
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// One call as the backend sees it; dropping it ends the answer without a status.
struct Asked {
    headers: HeaderMap,
    body: Incoming,
    answer: mpsc::Sender<Frame<Bytes>>,
}

impl Asked {
    async fn say(&self, text: &str) {
        let mut message = vec![0];
        message.put_u32(u32::try_from(text.len()).unwrap());
        message.put_slice(text.as_bytes());
        self.answer.send(Frame::data(message.into())).await.unwrap();
    }

    async fn end(self, status: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        self.answer.send(Frame::trailers(trailers)).await.unwrap();
    }

    /// The next message said to it; none once no more is said.
    async fn hear(&mut self) -> Option<String> {
        use http_body_util::BodyExt;
        let data = self.body.frame().await?.unwrap().into_data().unwrap();
        // The last frame of all is empty.
        Some(String::from_utf8_lossy(data.get(5..)?).into_owned())
    }

    /// What it is cut off with instead of one more message.
    async fn cut(&mut self) -> Option<h2::Reason> {
        use http_body_util::BodyExt;
        let error = self.body.frame().await?.err()?;
        let cause = std::error::Error::source(&error)?.downcast_ref::<h2::Error>();
        cause?.reason()
    }
}

struct Scene {
    cx: RequestContext,
    up: Upstream,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Scene {
    /// A backend that answers its calls with a head at once, but for the first `refused`: those it is unavailable for.
    fn new(refused: usize, change: impl FnOnce(&mut Config)) -> Self {
        crate::auth::install_crypto();
        let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let (to, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(pipes.listen("backend:80"), refused, to));
        let shared = Arc::new(GatewayHandles {
            client: HeaderValue::from_static("test"),
            env: Env::seeded(7, Net::InMemory(pipes)),
            tasks: TaskTracker::new(),
            shutdown: tokio_util::sync::CancellationToken::new(),
            metrics: Metrics::noop(),
            cache: crate::cache::Cache::new(&crate::cache::Config::default(), &Env::real()),
            fields: crate::section::fields::FieldCache::default(),
        });
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
            shared,
        });
        Self { cx, up, asked }
    }

    async fn open(
        &self,
        call: Call<Public, String>,
    ) -> Result<BidiStream<String, String>, Failure> {
        open_stream(&self.cx, &self.up, call, || Text, Ok).await
    }

    /// Opens a conversation that works.
    async fn talk(&mut self) -> (BidiStream<String, String>, Asked) {
        let talk = self.open(hello()).await.unwrap();
        (talk, self.asked.recv().await.unwrap())
    }
}

fn hello() -> Call<Public, String> {
    Call::write(Public, "/test.Talks/Talk", "hello".to_owned())
}

async fn serve(mut from: crate::net::Listener, refused: usize, to: mpsc::UnboundedSender<Asked>) {
    let left = Arc::new(AtomicUsize::new(refused));
    while let Some(wire) = from.next().await {
        let (to, left) = (to.clone(), left.clone());
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let (head, body) = request.into_parts();
            let (answer, frames) = mpsc::channel(8);
            let headers = head.headers;
            to.send(Asked {
                headers,
                body,
                answer,
            })
            .ok();
            let frames = futures_util::stream::unfold(frames, |mut frames| async {
                Some((Ok::<_, Infallible>(frames.recv().await?), frames))
            });
            let mut response = Response::new(StreamBody::new(frames));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", grpc);
            if left
                .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
                .is_ok()
            {
                let unavailable = HeaderValue::from_static("14");
                response.headers_mut().insert("grpc-status", unavailable);
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(wire), service);
        tokio::spawn(serving);
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_past_the_deadline_and_ends_well() {
    let mut scene = Scene::new(0, |_| {});
    let (mut talk, mut asked) = scene.talk().await;
    assert!(
        !asked.headers.contains_key("grpc-timeout"),
        "it would end all"
    );
    assert!(asked.headers.contains_key("traceparent"));
    assert_eq!(asked.hear().await.unwrap(), "hello");
    for _ in 0..10 {
        asked.say("well?").await;
        assert_eq!(talk.recv().await.unwrap().unwrap(), "well?");
        tokio::time::sleep(IDLE * 9 / 10).await;
        assert!(talk.send("yes".to_owned()).await);
        assert_eq!(asked.hear().await.unwrap(), "yes");
    }
    asked.end("0").await;
    assert!(talk.recv().await.is_none());
    assert!(!talk.send("anybody?".to_owned()).await);
}

#[tokio::test(start_paused = true)]
async fn a_silence_ends_it_and_hangs_up() {
    let mut scene = Scene::new(0, |_| {});
    let (mut talk, asked) = scene.talk().await;
    let began = Instant::now();
    let failure = talk.recv().await.unwrap().unwrap_err();
    assert_eq!(
        (failure.reason(), failure.source()),
        (Reason::Timeout, "backend")
    );
    assert_eq!(began.elapsed().as_secs(), IDLE.as_secs());
    asked.answer.closed().await;
    assert!(
        talk.recv().await.is_none(),
        "a failure is the last thing heard"
    );
}

#[tokio::test(start_paused = true)]
async fn hanging_up_is_not_saying_that_all_is_said() {
    let mut scene = Scene::new(0, |_| {});
    let (talk, mut asked) = scene.talk().await;
    asked.hear().await;
    drop(talk);
    assert_eq!(asked.cut().await, Some(h2::Reason::CANCEL));
    let (mut talk, mut asked) = scene.talk().await;
    asked.hear().await;
    talk.close();
    assert_eq!(asked.hear().await, None);
    asked.say("so be it").await;
    assert_eq!(talk.recv().await.unwrap().unwrap(), "so be it");
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_status_is_a_failure_and_says_so() {
    let mut scene = Scene::new(0, |_| {});
    let (mut talk, asked) = scene.talk().await;
    drop(asked);
    let failure = talk.recv().await.unwrap().unwrap_err();
    assert_eq!(failure.reason(), Reason::BadResponse);
    assert_eq!(failure.error().code(), codes::OUTCOME_UNKNOWN, "of a write");
    let (mut talk, asked) = scene.talk().await;
    asked.end("3").await;
    let refused = talk.recv().await.unwrap().unwrap_err();
    assert_eq!(refused.upstream_status().map(|s| s.as_u16()), Some(422));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_while_it_lasts() {
    let one = |config: &mut Config| config.bulkhead.max_streams = NonZeroU32::MIN;
    let mut scene = Scene::new(0, one);
    let (talk, asked) = scene.talk().await;
    let refused = scene.open(hello()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Overloaded);
    drop(talk);
    asked.answer.closed().await;
    scene.talk().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_is_bounded() {
    let mut scene = Scene::new(0, |config| config.max_body_bytes = 100);
    let (mut talk, asked) = scene.talk().await;
    asked.say(&"x".repeat(100)).await;
    assert_eq!(talk.recv().await.unwrap().unwrap().len(), 100);
    asked.say(&"x".repeat(101)).await;
    let failure = talk.recv().await.unwrap().unwrap_err();
    assert_eq!(failure.reason(), Reason::BadResponse);
}

#[tokio::test(start_paused = true)]
async fn opening_is_tried_again_where_that_is_sane() {
    let mut scene = Scene::new(1, |_| {});
    let talk = scene.open(hello().repeatable()).await.unwrap();
    for _ in 0..2 {
        let mut asked = scene.asked.recv().await.unwrap();
        assert_eq!(asked.hear().await.unwrap(), "hello", "each attempt says it");
    }
    drop(talk);
    let mut once = Scene::new(1, |_| {});
    let refused = once.open(hello()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Unavailable);
    assert!(once.asked.recv().await.is_some() && once.asked.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_one_reply_needs_a_good_end() {
    for (said, status, good) in [
        (1, "0", true),
        (0, "0", false),
        (2, "0", false),
        (1, "13", false),
    ] {
        let mut scene = Scene::new(0, |_| {});
        let (talk, mut asked) = scene.talk().await;
        let backend = async {
            asked.hear().await;
            assert_eq!(asked.hear().await, None, "no more is said");
            for _ in 0..said {
                asked.say("noted").await;
            }
            asked.end(status).await;
        };
        let (reply, ()) = tokio::join!(talk.recv_only(), backend);
        assert_eq!(reply.is_ok(), good, "{said} {status} {reply:?}");
    }
}
