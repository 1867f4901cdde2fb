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

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalogue::{CATALOGUE, CATEGORIES, Listed};
use crate::paging::{self, by_cursor, by_page, limit_of};
use crate::response::{Answer, Problem, Query, public, public_bytes};
use crate::world::MockState;

const PRODUCT_MAX_AGE_S: u32 = 60;
const LIST_MAX_AGE_S: u32 = 300;

pub(crate) fn routes() -> Router<Arc<MockState>> {
    Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(show))
        .route("/products/{id}/similar", get(similar))
        .route("/search", get(search::search))
        .route("/suggestions", get(search::suggestions))
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
struct Row<'a> {
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

async fn list(Query(query): Query<ListQuery>, headers: HeaderMap) -> Answer {
    if let Some(ids) = &query.ids {
        return batch(ids, &headers);
    }
    let category = query.category.as_deref().filter(|c| !c.is_empty());
    let in_category = |l: &&Listed| category.is_none_or(|c| l.product.category == c);
    let mut found: Vec<&Listed> = CATALOGUE.products.iter().filter(in_category).collect();
    sort(&mut found, query.sort.as_deref().unwrap_or_default())?;
    let (page, per_page) = (query.page.unwrap_or(1), query.per_page.unwrap_or(20));
    let items = raw(by_page(&found, page, per_page)?.iter().copied());
    let body = PageOf {
        items,
        page,
        per_page,
        total: found.len(),
    };
    Ok(public(&headers, LIST_MAX_AGE_S, &body))
}

fn batch(ids: &str, headers: &HeaderMap) -> Answer {
    let (mut items, mut not_found) = (Vec::new(), Vec::new());
    for id in paging::ids(ids)? {
        match CATALOGUE.by_id(id) {
            Some(listed) => items.push(&*listed.raw),
            None => not_found.push(id),
        }
    }
    Ok(public(
        headers,
        PRODUCT_MAX_AGE_S,
        &Batch { items, not_found },
    ))
}

fn sort(found: &mut [&Listed], by: &str) -> Result<(), Problem> {
    match by {
        "" | "id" => {}
        "name" => found.sort_by(|a, b| a.key.cmp(&b.key)),
        "-name" => found.sort_by(|a, b| b.key.cmp(&a.key)),
        "year" => found.sort_by_key(|l| l.product.year),
        "-year" => found.sort_by_key(|l| std::cmp::Reverse(l.product.year)),
        "price" => found.sort_by_key(|l| l.product.price.amount),
        "-price" => found.sort_by_key(|l| std::cmp::Reverse(l.product.price.amount)),
        other => return Err(Problem::bad_request(format!("cannot sort by `{other}`"))),
    }
    Ok(())
}

async fn show(Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let listed = find(&id)?;
    Ok(public_bytes(
        &headers,
        PRODUCT_MAX_AGE_S,
        listed.bytes.clone(),
        &listed.etag,
    ))
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

/// The nearest by genres in common, then by year.
async fn similar(Path(id): Path<String>, Query(query): Query<Limit>, headers: HeaderMap) -> Answer {
    let this = find(&id)?;
    let limit = limit_of(query.limit, 8)?;
    let mut others: Vec<&Listed> = CATALOGUE
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
    let items = raw(others.into_iter().take(limit));
    Ok(public(&headers, LIST_MAX_AGE_S, &Items { items }))
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
) -> Answer {
    let found = CATALOGUE.collections.iter().find(|c| c.id == id);
    let row = found.ok_or_else(|| Problem::not_found("collection", &id))?;
    let (part, next_cursor) = by_cursor(&row.items, query.cursor.as_deref(), query.limit, 20)?;
    let items = raw(part.iter().map(|i| &CATALOGUE.products[*i]));
    let body = Row {
        id: row.id,
        title: row.title,
        items,
        next_cursor,
    };
    Ok(public(&headers, LIST_MAX_AGE_S, &body))
}

fn find(id: &str) -> Result<&'static Listed, Problem> {
    CATALOGUE
        .by_id(id)
        .ok_or_else(|| Problem::not_found("product", id))
}

fn raw<'a>(found: impl Iterator<Item = &'a Listed>) -> Vec<&'a RawValue> {
    found.map(|listed| &*listed.raw).collect()
}
