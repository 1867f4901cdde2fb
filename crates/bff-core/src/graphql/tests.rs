//! The door from outside: a tiny schema of a shelf with books.
#![expect(
    clippy::unused_async,
    reason = "the library wants every resolver async"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_graphql::{Context, EmptySubscription, ID, Object, Schema, SimpleObject};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, header};
use serde::Serialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Config, answer, enter, outcome, routes, sdl};
use crate::config::Mode;
use crate::context::{Cx, Shared, World};
use crate::error::{Code, Error, codes};
use crate::inbound::doors::BodyLimit;
use crate::outbound::{Failure, Fetched, Provenance, Reason};
use crate::scope::{Public, Sharing};
use crate::section::{Page, Screen, Want};
use crate::telemetry::Metrics;

mod documents;
mod limits;
mod transport;

/// How often each section was fetched.
#[derive(Clone, Default)]
struct Fetches(Arc<[AtomicUsize; 3]>);

impl Fetches {
    fn of(&self, which: usize) -> usize {
        self.0[which].load(Ordering::Relaxed)
    }
}

const LENT_OUT: Code = Code::new("lent_out", 409, "Lent out", "It is lent out.", "Wait.");

const BOOK: usize = 0;
const NOTES: usize = 1;
const WRITES: usize = 2;

/// A book.
#[derive(Clone, Serialize, SimpleObject)]
struct Book {
    title: &'static str,
    pages: i32,
}

/// A shelf.
#[derive(Serialize, SimpleObject)]
struct ShelfPage {
    book: Book,
    margin_notes: Option<Book>,
    rows: Vec<Book>,
    mine: Option<Book>,
}

async fn fetch(
    fetches: &Fetches,
    which: usize,
    failure: Option<Failure>,
) -> Result<Fetched<Book, Public>, Failure> {
    fetches.0[which].fetch_add(1, Ordering::Relaxed);
    tokio::task::yield_now().await;
    if let Some(failure) = failure {
        return Err(failure.of("library"));
    }
    let from = Provenance::fresh("library", Duration::ZERO, Sharing::default());
    let book = Book {
        title: "T",
        pages: 9,
    };
    Ok(Fetched::new(Arc::new(book), from))
}

impl ShelfPage {
    async fn assemble(
        cx: &Cx,
        fetches: &Fetches,
        id: &str,
        want: &Want,
    ) -> Result<Screen<Self>, Failure> {
        let page = Page::new(cx, want);
        let gone = (id == "gone").then(|| {
            let secret = "host db-1 refused";
            Failure::new(Reason::CircuitOpen)
                .retry_after(Some(Duration::from_secs(8)))
                .because(secret)
        });
        let late = (id == "thin")
            .then(|| Failure::new(Reason::Timeout).retry_after(Some(Duration::from_secs(5))));
        let lent = Failure::new(Reason::BadResponse).told_as(Error::new(LENT_OUT, "Lent out."));
        let late = late.or((id == "lent").then_some(lent));
        let torn = (id == "thin").then(|| Failure::new(Reason::BadResponse));
        let (book, margin_notes, a, b, mine) = futures_util::try_join!(
            page.required("book", fetch(fetches, BOOK, gone), Book::clone),
            page.optional("marginNotes", fetch(fetches, NOTES, late), Book::clone),
            page.optional("rows.a", fetch(fetches, BOOK, None), Book::clone),
            page.optional("rows.b", fetch(fetches, BOOK, torn), Book::clone),
            page.personal(
                "mine",
                async |_| Err::<Fetched<Book, _>, _>(Failure::new(Reason::Timeout)),
                Book::clone
            ),
        )?;
        Ok(page.finish(Self {
            book,
            margin_notes,
            rows: [a, b].into_iter().flatten().collect(),
            mine,
        }))
    }
}

struct Query;

#[Object]
impl Query {
    async fn shelf_page(&self, ctx: &Context<'_>, id: ID) -> Option<ShelfPage> {
        let (cx, want) = enter(ctx);
        let fetches = ctx.data_unchecked::<Fetches>();
        answer(
            ctx,
            &want,
            ShelfPage::assemble(cx, fetches, &id, &want).await,
        )
    }

    async fn room(&self) -> Room {
        Room
    }

    async fn leaky(&self) -> async_graphql::Result<Option<i32>> {
        Err(async_graphql::Error::new("host db-1 refused"))
    }

    async fn strict(&self, ctx: &Context<'_>) -> Option<i32> {
        let (cx, _) = enter(ctx);
        outcome(ctx, cx.require_caller().map(|_| 1))
    }

    async fn tiny(&self, n: Tiny) -> i32 {
        i32::from(n.0)
    }
}

/// Screens below lists.
struct Room;

#[Object]
impl Room {
    async fn shelves(&self) -> Vec<Shelf> {
        vec![Shelf("full"), Shelf("thin")]
    }

    async fn next(&self) -> Room {
        Room
    }
}

struct Shelf(&'static str);

#[Object]
impl Shelf {
    async fn page(&self, ctx: &Context<'_>) -> Option<ShelfPage> {
        let (cx, want) = enter(ctx);
        let fetches = ctx.data_unchecked::<Fetches>();
        answer(
            ctx,
            &want,
            ShelfPage::assemble(cx, fetches, self.0, &want).await,
        )
    }
}

/// A number below ten.
struct Tiny(u8);

#[async_graphql::Scalar]
impl async_graphql::ScalarType for Tiny {
    fn parse(value: async_graphql::Value) -> async_graphql::InputValueResult<Self> {
        match value {
            async_graphql::Value::Number(n) if n.as_u64().is_some_and(|n| n < 10) => {
                Ok(Self(u8::try_from(n.as_u64().unwrap()).unwrap()))
            }
            _ => Err(async_graphql::InputValueError::custom("not below ten")),
        }
    }

    fn to_value(&self) -> async_graphql::Value {
        self.0.into()
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn lend(&self, ctx: &Context<'_>, id: ID) -> Option<bool> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let fetches = ctx.data_unchecked::<Fetches>();
        fetches.0[WRITES].fetch_add(1, Ordering::Relaxed);
        let taken = Error::new(codes::IN_PROGRESS, "It is being lent.").because("row 7 locked");
        outcome(
            ctx,
            if id.as_str() == "taken" {
                Err(taken)
            } else {
                Ok(true)
            },
        )
    }
}

/// A gateway with the schema and nothing else.
struct Door {
    router: Router,
    limit: BodyLimit,
    fetches: Fetches,
    cx: Cx,
}

impl Door {
    fn open(config: &Config, mode: Mode) -> Self {
        let shared = Arc::new(Shared {
            client: http::HeaderValue::from_static("web"),
            world: World::real(),
            tasks: tokio_util::task::TaskTracker::new(),
            metrics: Metrics::unread(),
            fields: crate::section::fields::Known::default(),
        });
        let fetches = Fetches::default();
        let schema = Schema::build(Query, Mutation, EmptySubscription).data(fetches.clone());
        let routes = routes(schema, config, mode);
        Self {
            limit: BodyLimit {
                bytes: routes.door.max_body_bytes.unwrap(),
                time: Duration::from_secs(5),
            },
            router: routes.router,
            fetches,
            cx: Cx::background(&shared, Duration::from_secs(5)),
        }
    }

    fn production() -> Self {
        Self::open(&Config::default(), Mode::Production)
    }

    fn development() -> Self {
        Self::open(&Config::default(), Mode::Development)
    }

    async fn send(&self, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(self.cx.clone());
        request.extensions_mut().insert(self.limit);
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn ask(&self, body: Value) -> Asked {
        let request = Request::post("/graphql")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/graphql-response+json")
            .body(Body::from(body.to_string()))
            .unwrap();
        Asked::of(self.send(request).await).await
    }

    async fn query(&self, document: &str) -> Asked {
        self.ask(json!({"query": document})).await
    }
}

/// An answer, read.
struct Asked {
    status: u16,
    headers: http::HeaderMap,
    /// For the log.
    failure: Option<Error>,
    body: Value,
}

impl Asked {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            failure: parts.extensions.get().cloned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// The data of an answer without errors.
    fn data(&self) -> &Value {
        assert_eq!(self.body.get("errors"), None, "{}", self.body);
        &self.body["data"]
    }

    /// The text of the one error of a document that was refused.
    fn refusal(&self) -> &str {
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(self.body.get("data"), None);
        assert_eq!(
            self.body["errors"][0]["extensions"]["code"],
            "invalid_request"
        );
        self.body["errors"][0]["message"].as_str().unwrap()
    }
}

#[test]
fn the_contract_is_the_same_on_every_run() {
    let schema = || Schema::build(Query, Mutation, EmptySubscription);
    let text = sdl(schema());
    assert_eq!(text, sdl(schema()));
    assert!(text.contains("marginNotes: Book") && !text.contains("_service"));
}
