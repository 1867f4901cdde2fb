//! The review backend (3005): reviews and ratings. Public: strong `ETag`, fresh for 30 s, 304.
//!
//! - `GET /reviews?productId=p-1&limit=10&cursor=` → `{"productId","average":4.2,"count":37,
//!   "items":[{"id","productId","author":{"id","name"},"rating":1..5,"title","text","createdAt"}],
//!   "nextCursor":null|"..."}`, newest first; 400 without `productId`, 404
//! - `GET /reviews/summary?ids=p-1,p-2` → `{"items":[{"productId","average","count"}],"notFound":[]}`
//! - `POST /reviews` `{"productId","rating":1..5,"title","text"}` → 201 with the review; requires
//!   `X-User-Id` (401); 422 for an unknown product, and for an invalid rating, title (1 to 120 characters) or text (1 to
//!   4000 characters); `Idempotency-Key` is optional
//!
//! Every product has at least three reviews; `average` has one decimal.

mod generated;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as SharedState;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::catalogue::CATALOGUE;
use crate::clock::Clock;
use crate::idempotency::{IdempotencyKey, StoredResponses};
use crate::paging::{self, by_cursor};
use crate::response::{HandlerResult, Problem, Query, parse, private_bytes, public, to_bytes};
use crate::users::{self, UserRef};

use wire::{NewReview, Review, Summary};

const MAX_AGE_S: u32 = 30;

pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/reviews", get(list).post(post_review))
        .route("/reviews/summary", get(summary))
        .with_state(state)
}

/// The posted reviews.
pub(crate) struct State {
    clock: Clock,
    posted: Mutex<PostedReviews>,
}

#[derive(Default)]
struct PostedReviews {
    /// By product number, oldest first.
    reviews: BTreeMap<usize, Vec<Review>>,
    responses: StoredResponses,
}

impl State {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            posted: Mutex::default(),
        }
    }

    pub(crate) fn reset(&self) {
        *self.posted.lock() = PostedReviews::default();
    }
}

impl PostedReviews {
    /// All reviews of a product, newest first.
    fn of(&self, number: usize) -> Vec<&Review> {
        let posted = self.reviews.get(&number).into_iter().flatten().rev();
        posted.chain(generated::of(number)).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListQuery {
    product_id: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    items: &'a [&'a Review],
    next_cursor: Option<String>,
}

async fn list(
    SharedState(state): SharedState<Arc<State>>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    let id = query
        .product_id
        .ok_or_else(|| Problem::bad_request("productId is missing"))?;
    let entry = CATALOGUE
        .by_id(&id)
        .ok_or_else(|| Problem::not_found("product", &id))?;
    let posted = state.posted.lock();
    let reviews = posted.of(entry.number);
    let (items, next_cursor) = by_cursor(&reviews, query.cursor.as_deref(), query.limit, 10)?;
    let body = List {
        summary: Summary::new(&id, &reviews),
        items,
        next_cursor,
    };
    Ok(public(&headers, MAX_AGE_S, &body))
}

#[derive(Deserialize)]
struct SummaryQuery {
    ids: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summaries<'a> {
    items: Vec<Summary<'a>>,
    not_found: Vec<&'a str>,
}

async fn summary(
    SharedState(state): SharedState<Arc<State>>,
    Query(query): Query<SummaryQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    let ids = query.ids.unwrap_or_default();
    let posted = state.posted.lock();
    let mut body = Summaries {
        items: Vec::new(),
        not_found: Vec::new(),
    };
    for id in paging::ids(&ids)? {
        match CATALOGUE.by_id(id) {
            Some(entry) => body.items.push(Summary::new(id, &posted.of(entry.number))),
            None => body.not_found.push(id),
        }
    }
    Ok(public(&headers, MAX_AGE_S, &body))
}

async fn post_review(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    key: IdempotencyKey,
    body: Bytes,
) -> HandlerResult {
    let mut posted = state.posted.lock();
    if let Some(key) = &key.0
        && let Some(stored) = posted.responses.find(&caller.id, key, &body)?
    {
        return Ok(stored);
    }
    let new_review: NewReview = parse(&body)?;
    let number = new_review.check()?;
    let review = Review {
        id: format!("r-{number}-{}", posted.of(number).len() + 1),
        product_id: new_review.product_id,
        author: author(&caller.id),
        rating: new_review.rating,
        title: new_review.title,
        text: new_review.text,
        created_at: state.clock.now(),
    };
    let response = to_bytes(&review);
    posted.reviews.entry(number).or_default().push(review);
    Ok(match key.0 {
        Some(key) => posted
            .responses
            .store(&caller.id, &key, &body, StatusCode::CREATED, response),
        None => private_bytes(StatusCode::CREATED, response),
    })
}

fn author(id: &str) -> UserRef {
    let user = users::find(id).map(|user| users::user_ref(&user));
    user.unwrap_or_else(|| UserRef {
        id: id.to_owned(),
        name: "Guest".to_owned(),
    })
}
