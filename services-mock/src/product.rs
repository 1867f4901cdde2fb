//! The product backend (3002): the catalogue. Public: strong `ETag`, `Cache-Control`, 304.
//!
//! - `GET /products?page=1&perPage=20&category=&sort=` → `{"items":[Product],"page","perPage","total"}`;
//!   `sort` is one of `id` (default), `name`, `-name`, `year`, `-year`, `price`, `-price`
//! - `GET /products?ids=p-1,p-2` → `{"items":[Product],"notFound":["p-999"]}`; at most 100 ids, else 400
//! - `GET /products/{id}` → Product; 404
//! - `GET /products/{id}/similar?limit=8` → `{"items":[Product]}`
//! - `GET /search?q=&limit=20&cursor=` → `{"items":[Product],"total":n,"nextCursor":null|"..."}`
//! - `GET /suggestions?prefix=&limit=8` → `{"items":["The Quiet Harbour"],"nextLetters":["a"," "]}`
//! - `GET /categories` → `{"items":[{"id","name"}]}`
//! - `GET /collections` → `{"items":[{"id","title"}]}`, `featured` first
//! - `GET /collections/{id}?cursor=&limit=20` → `{"id","title","items":[Product],"nextCursor"}`; 404
//!
//! Product: `{"id":"p-1","kind":"film|series","name","description","category","genres":["drama"],"year",
//! "runtimeMinutes","seasons":null|n,"maturity":"all|teen|adult","price":{"amount":1299,"currency":"EUR"},
//! "image":{"url","width","height"},"cast":[{"name","role"}],"director","updatedAt"}`.
//! A product is fresh for 60 s, a list for 300 s.

mod search;

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalogue::{CATALOGUE, CATEGORIES, CatalogueEntry};
use crate::paging::{self, by_cursor, by_page, limit_of};
use crate::response::{HandlerResult, Problem, Query, public, public_bytes};

use search::{SearchQuery, SuggestionQuery};

const PRODUCT_MAX_AGE_S: u32 = 60;
const LIST_MAX_AGE_S: u32 = 300;

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(show))
        .route("/products/{id}/similar", get(similar))
        .route("/search", get(search))
        .route("/suggestions", get(suggestions))
        .route("/categories", get(categories))
        .route("/collections", get(collections))
        .route("/collections/{id}", get(collection))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListQuery {
    page: Option<usize>,
    per_page: Option<usize>,
    category: Option<String>,
    sort: Option<String>,
    ids: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageOf<'a> {
    items: Vec<&'a RawValue>,
    page: usize,
    per_page: usize,
    total: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    items: Vec<&'a RawValue>,
    not_found: Vec<&'a str>,
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CollectionPage<'a> {
    id: &'a str,
    title: &'a str,
    items: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

/// The cursor and limit of a list.
#[derive(Deserialize)]
struct Cursor {
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn list(Query(query): Query<ListQuery>, headers: HeaderMap) -> HandlerResult {
    if let Some(ids) = &query.ids {
        return batch(ids, &headers);
    }
    let category = query.category.as_deref().filter(|c| !c.is_empty());
    let in_category = |l: &&CatalogueEntry| category.is_none_or(|c| l.product.category == c);
    let mut found: Vec<&CatalogueEntry> = CATALOGUE.products.iter().filter(in_category).collect();
    sort(&mut found, query.sort.as_deref().unwrap_or_default())?;
    let (page, per_page) = (query.page.unwrap_or(1), query.per_page.unwrap_or(20));
    let items = raw_json(by_page(&found, page, per_page)?.iter().copied());
    let body = PageOf {
        items,
        page,
        per_page,
        total: found.len(),
    };
    Ok(public(&headers, LIST_MAX_AGE_S, &body))
}

fn batch(ids: &str, headers: &HeaderMap) -> HandlerResult {
    let (mut items, mut not_found) = (Vec::new(), Vec::new());
    for id in paging::ids(ids)? {
        match CATALOGUE.by_id(id) {
            Some(entry) => items.push(&*entry.raw_json),
            None => not_found.push(id),
        }
    }
    Ok(public(
        headers,
        PRODUCT_MAX_AGE_S,
        &Batch { items, not_found },
    ))
}

fn sort(found: &mut [&CatalogueEntry], by: &str) -> Result<(), Problem> {
    match by {
        "" | "id" => {}
        "name" => found.sort_by(|a, b| a.lower_name.cmp(&b.lower_name)),
        "-name" => found.sort_by(|a, b| b.lower_name.cmp(&a.lower_name)),
        "year" => found.sort_by_key(|l| l.product.year),
        "-year" => found.sort_by_key(|l| std::cmp::Reverse(l.product.year)),
        "price" => found.sort_by_key(|l| l.product.price.amount),
        "-price" => found.sort_by_key(|l| std::cmp::Reverse(l.product.price.amount)),
        other => return Err(Problem::bad_request(format!("cannot sort by `{other}`"))),
    }
    Ok(())
}

async fn show(Path(id): Path<String>, headers: HeaderMap) -> HandlerResult {
    let entry = find(&id)?;
    Ok(public_bytes(
        &headers,
        PRODUCT_MAX_AGE_S,
        entry.bytes.clone(),
        &entry.etag,
    ))
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

/// Similar products: first by the number of common genres, then by year.
async fn similar(
    Path(id): Path<String>,
    Query(query): Query<Limit>,
    headers: HeaderMap,
) -> HandlerResult {
    let this = find(&id)?;
    let limit = limit_of(query.limit, 8)?;
    let mut others: Vec<&CatalogueEntry> = CATALOGUE
        .products
        .iter()
        .filter(|l| l.number != this.number)
        .collect();
    others.sort_by_key(|other| {
        let shared = other
            .product
            .genres
            .iter()
            .filter(|g| this.product.genres.contains(g))
            .count();
        (
            std::cmp::Reverse(shared),
            other.product.year.abs_diff(this.product.year),
        )
    });
    let items = raw_json(others.into_iter().take(limit));
    Ok(public(&headers, LIST_MAX_AGE_S, &Items { items }))
}

async fn search(Query(query): Query<SearchQuery>, headers: HeaderMap) -> HandlerResult {
    Ok(public(&headers, LIST_MAX_AGE_S, &search::search(&query)?))
}

async fn suggestions(Query(query): Query<SuggestionQuery>, headers: HeaderMap) -> HandlerResult {
    Ok(public(
        &headers,
        LIST_MAX_AGE_S,
        &search::suggestions(&query)?,
    ))
}

async fn categories(headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct Category {
        id: &'static str,
        name: &'static str,
    }
    let items = CATEGORIES
        .into_iter()
        .map(|(id, name)| Category { id, name })
        .collect();
    public(&headers, LIST_MAX_AGE_S, &Items { items })
}

async fn collections(headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct Head {
        id: &'static str,
        title: &'static str,
    }
    let items = CATALOGUE
        .collections
        .iter()
        .map(|c| Head {
            id: c.id,
            title: c.title,
        })
        .collect();
    public(&headers, LIST_MAX_AGE_S, &Items { items })
}

async fn collection(
    Path(id): Path<String>,
    Query(query): Query<Cursor>,
    headers: HeaderMap,
) -> HandlerResult {
    let collection = CATALOGUE.collections.iter().find(|c| c.id == id);
    let collection = collection.ok_or_else(|| Problem::not_found("collection", &id))?;
    let (page_items, next_cursor) =
        by_cursor(&collection.items, query.cursor.as_deref(), query.limit, 20)?;
    let items = raw_json(page_items.iter().map(|i| &CATALOGUE.products[*i]));
    let body = CollectionPage {
        id: collection.id,
        title: collection.title,
        items,
        next_cursor,
    };
    Ok(public(&headers, LIST_MAX_AGE_S, &body))
}

fn find(id: &str) -> Result<&'static CatalogueEntry, Problem> {
    CATALOGUE
        .by_id(id)
        .ok_or_else(|| Problem::not_found("product", id))
}

fn raw_json<'a>(found: impl Iterator<Item = &'a CatalogueEntry>) -> Vec<&'a RawValue> {
    found.map(|entry| &*entry.raw_json).collect()
}
