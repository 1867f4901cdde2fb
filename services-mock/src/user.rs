//! The user backend (3001): profiles, preferences, addresses, friends. Private: `no-store`.
//!
//! Every call requires `X-User-Id` (401). It must equal the id in the path, or `X-User-Role` must contain ADMIN (403).
//!
//! - `GET /users/{id}` → `{"id","name","email","role","region","maturity":"all|teen|adult","createdAt"}`; 404
//! - `GET|PUT /users/{id}/preferences` → `{"language":"en","subtitles":false,"autoplay":true,
//!   "favouriteGenres":["drama"]}`; 422 for an unknown language or genre
//! - `GET /users/{id}/addresses` → `{"items":[Address]}`; `POST` → 201 Address;
//!   Address: `{"id","name","street","city","postalCode","country"}` (without `id` when posted)
//! - `GET /users/{id}/friends` → `{"items":[{"id","name"}]}`
//! - `GET /users/{id}/friends/activity?productId=p-1&limit=20` → `{"items":[{"friend":{"id","name"},
//!   "productId","action":"watched|rated|bought","at"}]}`, newest first
//! - `GET /users?page=1&perPage=20` → `{"items":[User],"page","perPage","total"}`; ADMIN only
//!
//! Users: `ada`, `ben`, `kim`, `root`, `u-1` to `u-40`, and unlisted `s-1` to `s-999999` for load tests.

mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as SharedState};
use axum::routing::get;
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::paging::{by_page, limit_of};
use crate::response::{HandlerResult, Json, Problem, Query, private};
use crate::users::{self, USERS, User};

use wire::{Address, PostalAddress, Preferences};

const MAX_ADDRESSES: usize = 20;

pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/users", get(list))
        .route("/users/{id}", get(show))
        .route(
            "/users/{id}/preferences",
            get(preferences).put(set_preferences),
        )
        .route("/users/{id}/addresses", get(addresses).post(add_address))
        .route("/users/{id}/friends", get(friends))
        .route("/users/{id}/friends/activity", get(activity))
        .with_state(state)
}

/// The changes by users.
#[derive(Default)]
pub(crate) struct State(Mutex<BTreeMap<String, UserChanges>>);

impl State {
    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }
}

#[derive(Clone, Default)]
struct UserChanges {
    preferences: Option<Preferences>,
    added_addresses: Vec<Address>,
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageQuery {
    page: Option<usize>,
    per_page: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageOf<'a> {
    items: &'a [User],
    page: usize,
    per_page: usize,
    total: usize,
}

async fn list(caller: Caller, Query(query): Query<PageQuery>) -> HandlerResult {
    caller.require_admin()?;
    let (page, per_page) = (query.page.unwrap_or(1), query.per_page.unwrap_or(20));
    let items = by_page(&USERS, page, per_page)?;
    Ok(private(
        StatusCode::OK,
        &PageOf {
            items,
            page,
            per_page,
            total: USERS.len(),
        },
    ))
}

async fn show(caller: Caller, Path(id): Path<String>) -> HandlerResult {
    Ok(private(StatusCode::OK, &authorized_user(&caller, &id)?))
}

async fn preferences(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
) -> HandlerResult {
    let user = authorized_user(&caller, &id)?;
    let stored = state
        .0
        .lock()
        .get(&id)
        .and_then(|changes| changes.preferences.clone());
    Ok(private(
        StatusCode::OK,
        &stored.unwrap_or_else(|| Preferences::of(&user)),
    ))
}

async fn set_preferences(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
    Json(preferences): Json<Preferences>,
) -> HandlerResult {
    authorized_user(&caller, &id)?;
    preferences.check()?;
    let response = private(StatusCode::OK, &preferences);
    state.0.lock().entry(id).or_default().preferences = Some(preferences);
    Ok(response)
}

async fn addresses(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
) -> HandlerResult {
    let user = authorized_user(&caller, &id)?;
    let mut items = vec![Address {
        id: "a-1".to_owned(),
        address: PostalAddress::of(&user),
    }];
    items.extend(
        state
            .0
            .lock()
            .get(&id)
            .map(|changes| changes.added_addresses.clone())
            .unwrap_or_default(),
    );
    Ok(private(StatusCode::OK, &Items { items }))
}

async fn add_address(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
    Json(address): Json<PostalAddress>,
) -> HandlerResult {
    authorized_user(&caller, &id)?;
    address.check()?;
    let mut users = state.0.lock();
    let added = &mut users.entry(id).or_default().added_addresses;
    if added.len() + 1 >= MAX_ADDRESSES {
        return Err(Problem::conflict(format!(
            "at most {MAX_ADDRESSES} addresses are allowed"
        )));
    }
    let address = Address {
        id: format!("a-{}", added.len() + 2),
        address,
    };
    let response = private(StatusCode::CREATED, &address);
    added.push(address);
    Ok(response)
}

async fn friends(caller: Caller, Path(id): Path<String>) -> HandlerResult {
    authorized_user(&caller, &id)?;
    Ok(private(
        StatusCode::OK,
        &Items {
            items: users::friends(&id),
        },
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActivityQuery {
    product_id: Option<String>,
    limit: Option<usize>,
}

async fn activity(
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ActivityQuery>,
) -> HandlerResult {
    authorized_user(&caller, &id)?;
    let limit = limit_of(query.limit, 20)?;
    let mut items = users::friends_activity(&id);
    items.retain(|a| query.product_id.as_ref().is_none_or(|p| a.product_id == *p));
    items.truncate(limit);
    Ok(private(StatusCode::OK, &Items { items }))
}

/// The user, if the caller is authorized to read the user's data.
fn authorized_user(caller: &Caller, id: &str) -> Result<User, Problem> {
    caller.authorize_read(id)?;
    users::find(id).ok_or_else(|| Problem::not_found("user", id))
}
