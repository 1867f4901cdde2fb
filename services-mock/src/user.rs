//! The user backend (3001): profiles, preferences, addresses, friends. Private: never kept.
//!
//! Every call needs `X-User-Id` (401), equal to the id in the path or with `X-User-Role` containing ADMIN (403).
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

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as Of};
use axum::routing::get;
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::catalogue::CATEGORIES;
use crate::paging::{by_page, limit_of};
use crate::response::{Answer, Json, Problem, Query, private};
use crate::users::{self, PEOPLE, Person};
use crate::world::MockState;

const LANGUAGES: [&str; 6] = ["en", "de", "fr", "it", "es", "pt"];
const MAX_ADDRESSES: usize = 20;

pub(crate) fn routes() -> Router<Arc<MockState>> {
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
}

/// What users changed since the start.
#[derive(Default)]
pub(crate) struct State(Mutex<BTreeMap<String, Own>>);

impl State {
    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }
}

#[derive(Clone, Default)]
struct Own {
    preferences: Option<Preferences>,
    added: Vec<Address>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Preferences {
    language: String,
    subtitles: bool,
    autoplay: bool,
    favourite_genres: Vec<String>,
}

impl Preferences {
    fn of(person: &Person) -> Self {
        let language = if matches!(person.region, "GB" | "US" | "FR") {
            "en"
        } else {
            "de"
        };
        let genres = if person.maturity == "all" {
            vec!["family", "animation"]
        } else {
            vec!["drama", "thriller"]
        };
        Self {
            language: language.to_owned(),
            subtitles: false,
            autoplay: true,
            favourite_genres: genres.into_iter().map(str::to_owned).collect(),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        if !LANGUAGES.contains(&self.language.as_str()) {
            return Err(Problem::invalid(format!(
                "language is one of {}",
                LANGUAGES.join(", ")
            )));
        }
        let unknown = |genre: &&String| CATEGORIES.iter().all(|(id, _)| id != genre);
        match self.favourite_genres.iter().find(unknown) {
            Some(genre) => Err(Problem::invalid(format!("no genre `{genre}`"))),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    id: String,
    #[serde(flatten)]
    place: Place,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Place {
    name: String,
    street: String,
    city: String,
    postal_code: String,
    country: String,
}

impl Place {
    fn of(person: &Person) -> Self {
        Self {
            name: person.name.clone(),
            street: "Hauptstr. 1".to_owned(),
            city: "Springfield".to_owned(),
            postal_code: "10115".to_owned(),
            country: person.region.to_owned(),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        let texts = [&self.name, &self.street, &self.city, &self.postal_code];
        if texts
            .iter()
            .any(|text| !(1..=100).contains(&text.trim().chars().count()))
        {
            return Err(Problem::invalid(
                "name, street, city and postalCode have 1 to 100 characters",
            ));
        }
        if self.country.len() != 2 || !self.country.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(Problem::invalid("country is two capital letters"));
        }
        Ok(())
    }
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
    items: &'a [Person],
    page: usize,
    per_page: usize,
    total: usize,
}

async fn list(caller: Caller, Query(query): Query<PageQuery>) -> Answer {
    caller.must_be_admin()?;
    let (page, per_page) = (query.page.unwrap_or(1), query.per_page.unwrap_or(20));
    let items = by_page(&PEOPLE, page, per_page)?;
    Ok(private(
        StatusCode::OK,
        &PageOf {
            items,
            page,
            per_page,
            total: PEOPLE.len(),
        },
    ))
}

async fn show(caller: Caller, Path(id): Path<String>) -> Answer {
    Ok(private(StatusCode::OK, &readable(&caller, &id)?))
}

async fn preferences(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let person = readable(&caller, &id)?;
    let set = world
        .user
        .0
        .lock()
        .get(&id)
        .and_then(|own| own.preferences.clone());
    Ok(private(
        StatusCode::OK,
        &set.unwrap_or_else(|| Preferences::of(&person)),
    ))
}

async fn set_preferences(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Path(id): Path<String>,
    Json(wanted): Json<Preferences>,
) -> Answer {
    readable(&caller, &id)?;
    wanted.check()?;
    let answer = private(StatusCode::OK, &wanted);
    world.user.0.lock().entry(id).or_default().preferences = Some(wanted);
    Ok(answer)
}

async fn addresses(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let person = readable(&caller, &id)?;
    let mut items = vec![Address {
        id: "a-1".to_owned(),
        place: Place::of(&person),
    }];
    items.extend(
        world
            .user
            .0
            .lock()
            .get(&id)
            .map(|own| own.added.clone())
            .unwrap_or_default(),
    );
    Ok(private(StatusCode::OK, &Items { items }))
}

async fn add_address(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Path(id): Path<String>,
    Json(place): Json<Place>,
) -> Answer {
    readable(&caller, &id)?;
    place.check()?;
    let mut users = world.user.0.lock();
    let added = &mut users.entry(id).or_default().added;
    if added.len() + 1 >= MAX_ADDRESSES {
        return Err(Problem::conflict(format!(
            "at most {MAX_ADDRESSES} addresses"
        )));
    }
    let address = Address {
        id: format!("a-{}", added.len() + 2),
        place,
    };
    let answer = private(StatusCode::CREATED, &address);
    added.push(address);
    Ok(answer)
}

async fn friends(caller: Caller, Path(id): Path<String>) -> Answer {
    readable(&caller, &id)?;
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
) -> Answer {
    readable(&caller, &id)?;
    let limit = limit_of(query.limit, 20)?;
    let mut items = users::friends_activity(&id);
    items.retain(|a| query.product_id.as_ref().is_none_or(|p| a.product_id == *p));
    items.truncate(limit);
    Ok(private(StatusCode::OK, &Items { items }))
}

/// The person, if the caller may read them.
fn readable(caller: &Caller, id: &str) -> Result<Person, Problem> {
    caller.may_read(id)?;
    users::find(id).ok_or_else(|| Problem::not_found("user", id))
}
