//! A small schema: a shelf with books, as a root field and below lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_graphql::{Context, ID, Object, SimpleObject};
use serde::Serialize;

use crate::context::RequestContext;
use crate::error::{Code, Error, codes};
use crate::graphql::{resolve, resolve_screen, selection};
use crate::outbound::{Failure, Fetched, Provenance, Reason};
use crate::scope::{CacheVisibility, Public};
use crate::section::{FieldSelection, Screen, ScreenBuilder};

/// The number of fetches of each section.
#[derive(Clone, Default)]
pub(super) struct Fetches(Arc<[AtomicUsize; 3]>);

impl Fetches {
    pub(super) fn count(&self, section: usize) -> usize {
        self.0[section].load(Ordering::Relaxed)
    }
}

pub(super) const ON_LOAN: Code =
    Code::new("on_loan", 409, "On loan", "The book is on loan.", "Wait.");

pub(super) const BOOK: usize = 0;
pub(super) const NOTES: usize = 1;
pub(super) const WRITES: usize = 2;

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
    section: usize,
    failure: Option<Failure>,
) -> Result<Fetched<Book, Public>, Failure> {
    fetches.0[section].fetch_add(1, Ordering::Relaxed);
    tokio::task::yield_now().await;
    if let Some(failure) = failure {
        return Err(failure.with_upstream("library"));
    }
    let from = Provenance::fresh("library", Duration::ZERO, CacheVisibility::default());
    let book = Book {
        title: "T",
        pages: 9,
    };
    Ok(bff_context::trusted::fetched(Arc::new(book), from))
}

impl ShelfPage {
    async fn build(
        cx: &RequestContext,
        fetches: &Fetches,
        id: &str,
        selection: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, selection);
        let gone = (id == "gone").then(|| {
            let secret = "host db-1 refused";
            Failure::new(Reason::CircuitOpen)
                .with_retry_after(Some(Duration::from_secs(8)))
                .with_cause(secret)
        });
        let late = (id == "thin")
            .then(|| Failure::new(Reason::Timeout).with_retry_after(Some(Duration::from_secs(5))));
        let loaned =
            Failure::new(Reason::BadResponse).with_public_error(Error::new(ON_LOAN, "On loan."));
        let late = late.or((id == "loaned").then_some(loaned));
        let broken = (id == "thin").then(|| Failure::new(Reason::BadResponse));
        let (book, margin_notes, a, b, mine) = futures_util::try_join!(
            page.required("book", fetch(fetches, BOOK, gone), Book::clone),
            page.optional("marginNotes", fetch(fetches, NOTES, late), Book::clone),
            page.optional("rows.a", fetch(fetches, BOOK, None), Book::clone),
            page.optional("rows.b", fetch(fetches, BOOK, broken), Book::clone),
            page.personal(
                "mine",
                async |_| Err::<Fetched<Book, _>, _>(Failure::new(Reason::Timeout)),
                Book::clone
            ),
        )?;
        Ok(page.build(Self {
            book,
            margin_notes,
            rows: [a, b].into_iter().flatten().collect(),
            mine,
        }))
    }
}

pub(super) struct Query;

#[Object]
impl Query {
    async fn shelf_page(&self, ctx: &Context<'_>, id: ID) -> Option<ShelfPage> {
        let (cx, fields) = selection(ctx);
        let fetches = ctx.data_unchecked::<Fetches>();
        resolve_screen(
            ctx,
            &fields,
            ShelfPage::build(cx, fetches, &id, &fields).await,
        )
    }

    async fn room(&self) -> Room {
        Room
    }

    async fn leaky(&self) -> async_graphql::Result<Option<i32>> {
        Err(async_graphql::Error::new("host db-1 refused"))
    }

    async fn strict(&self, ctx: &Context<'_>) -> Option<i32> {
        let (cx, _) = selection(ctx);
        resolve(ctx, cx.require_caller().map(|_| 1))
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
        let (cx, fields) = selection(ctx);
        let fetches = ctx.data_unchecked::<Fetches>();
        resolve_screen(
            ctx,
            &fields,
            ShelfPage::build(cx, fetches, self.0, &fields).await,
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

pub(super) struct Mutation;

#[Object]
impl Mutation {
    async fn lend(&self, ctx: &Context<'_>, id: ID) -> Option<bool> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let fetches = ctx.data_unchecked::<Fetches>();
        fetches.0[WRITES].fetch_add(1, Ordering::Relaxed);
        let taken =
            Error::new(codes::IN_PROGRESS, "The loan is in progress.").with_cause("row 7 locked");
        resolve(
            ctx,
            if id.as_str() == "taken" {
                Err(taken)
            } else {
                Ok(true)
            },
        )
    }
}
