//! The product backend: the catalogue. Its data is public.
//!
//! A product is fresh for one minute and a list for five; both may be served stale. Prices here are list prices: the
//! inventory backend has the offers.

use bff_core::outbound::{Call, Upstream, omit_undecodable, omit_undecodable_or_null};
use bff_core::{Failure, Fetched, Public, RequestContext, UpstreamClient};
use serde::Deserialize;

use crate::wire::cache_policy::{cache_item, cache_list};
use crate::wire::error_mapping::map_unknown_cursor;
use crate::wire::open_enum::open_enum;
use crate::{Batch, Items, Money, NumberedPage, Timestamp};

bff_core::id! {
    /// The id of a product.
    ProductId
}
bff_core::id! {
    /// The id of a collection: an editor's list of products.
    CollectionId
}

open_enum! {
    /// The kind of a product.
    Kind {
        /// One film.
        Film = "film",
        /// Several seasons.
        Series = "series",
        ..
        /// A kind that this gateway does not know.
        Other = "other"
    }
}
open_enum! {
    /// The audience of a product, the most restricted last. An unknown level counts as the most restricted.
    Maturity {
        /// All ages.
        All = "all",
        /// Twelve years and older.
        Teen = "teen",
        /// Adults.
        Adult = "adult",
        ..
        /// A level that this gateway does not know.
        Unknown = "unknown"
    }
}

/// A film or series.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// Its kind.
    pub kind: Kind,
    /// Its title.
    pub name: String,
    /// A paragraph of text.
    pub description: String,
    /// The id of its category.
    pub category: String,
    /// The ids of its genres. A product stands without one of them.
    #[serde(default, deserialize_with = "omit_undecodable_or_null")]
    pub genres: Vec<String>,
    /// The year of its release.
    pub year: u16,
    /// The length of the film or of one episode, in minutes.
    pub runtime_minutes: u32,
    /// The number of seasons; only for a series.
    pub seasons: Option<u32>,
    /// Its audience.
    pub maturity: Maturity,
    /// Its list price. The price in a region is in its offers.
    pub price: Money,
    /// Its poster.
    pub image: Image,
    /// Its actors. A product stands without one of them.
    #[serde(default, deserialize_with = "omit_undecodable_or_null")]
    pub cast: Vec<Role>,
    /// Its director.
    pub director: String,
    /// The time of the last change.
    pub updated_at: Timestamp,
}

/// An image in its full size.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// Its URL.
    pub url: String,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
}

/// An actor in a role.
#[derive(Clone, Debug, Deserialize)]
pub struct Role {
    /// The actor's name.
    pub name: String,
    /// The character's name.
    pub role: String,
}

/// A category.
#[derive(Clone, Debug, Deserialize)]
pub struct Category {
    /// The value of a product's `category`.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A collection without its products.
#[derive(Clone, Debug, Deserialize)]
pub struct CollectionSummary {
    /// Its id.
    pub id: CollectionId,
    /// Its title.
    pub title: String,
}

/// A collection with one page of its products.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// Its id.
    pub id: CollectionId,
    /// Its title.
    pub title: String,
    /// The products of this page.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<Product>,
    /// The cursor of the next page; absent on the last page.
    pub next_cursor: Option<String>,
}

/// One page of search results.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchResults {
    /// The products of this page, best match first.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<Product>,
    /// The number of products that match.
    pub total: u64,
    /// The cursor of the next page; absent on the last page.
    pub next_cursor: Option<String>,
}

/// Completions of a search prefix.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestions {
    /// Product names.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<String>,
    /// The characters that may follow the prefix: letters or a space.
    #[serde(default, deserialize_with = "omit_undecodable_or_null")]
    pub next_letters: Vec<String>,
}

/// The client of the product backend.
#[derive(Clone, Debug)]
pub struct ProductClient(Upstream);

impl UpstreamClient for ProductClient {
    type Upstream = Upstream;

    fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl ProductClient {
    /// Returns one product.
    pub async fn by_id(
        &self,
        cx: &RequestContext,
        id: &ProductId,
    ) -> Result<Fetched<Product, Public>, Failure> {
        // Hedged, because it is a required section of several screens.
        let call = Call::get(Public, "/products/{id}").path_id(id).hedged();
        self.0
            .send(cx, cache_item(call.cache_tag(product_tag(id))))
            .await
    }

    /// Returns products by id. `ids` has at most 100 items.
    pub async fn by_ids(
        &self,
        cx: &RequestContext,
        ids: &[ProductId],
    ) -> Result<Fetched<Batch<Product>, Public>, Failure> {
        let call = Call::get(Public, "/products").query_ids("ids", ids);
        self.0.send(cx, cache_item(call)).await
    }

    /// Returns the page `page` (from 1) of all products, or of one category.
    pub async fn list(
        &self,
        cx: &RequestContext,
        page: u32,
        per_page: u32,
        category: Option<&str>,
    ) -> Result<Fetched<NumberedPage<Product>, Public>, Failure> {
        let call = Call::get(Public, "/products")
            .query("page", page)
            .query("perPage", per_page)
            .query_opt("category", category);
        self.0.send(cx, cache_list(call)).await
    }

    /// Returns products that are similar to this one.
    pub async fn similar(
        &self,
        cx: &RequestContext,
        id: &ProductId,
        limit: u32,
    ) -> Result<Fetched<Items<Product>, Public>, Failure> {
        let call = Call::get(Public, "/products/{id}/similar")
            .path_id(id)
            .query("limit", limit);
        self.0.send(cx, cache_list(call)).await
    }

    /// Returns the products that contain every word of `q`. An empty `q` finds nothing.
    pub async fn search(
        &self,
        cx: &RequestContext,
        q: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Fetched<SearchResults, Public>, Failure> {
        let call = Call::get(Public, "/search")
            .query("q", q)
            .query("limit", limit)
            .query_opt("cursor", cursor);
        map_unknown_cursor(self.0.send(cx, cache_list(call)).await, cursor)
    }

    /// Returns completions of `prefix`.
    pub async fn suggestions(
        &self,
        cx: &RequestContext,
        prefix: &str,
        limit: u32,
    ) -> Result<Fetched<Suggestions, Public>, Failure> {
        let call = Call::get(Public, "/suggestions")
            .query("prefix", prefix)
            .query("limit", limit);
        self.0.send(cx, cache_list(call)).await
    }

    /// Returns all categories.
    pub async fn categories(
        &self,
        cx: &RequestContext,
    ) -> Result<Fetched<Items<Category>, Public>, Failure> {
        let call = Call::get(Public, "/categories");
        self.0.send(cx, cache_list(call)).await
    }

    /// Returns all collections, the featured one first.
    pub async fn collections(
        &self,
        cx: &RequestContext,
    ) -> Result<Fetched<Items<CollectionSummary>, Public>, Failure> {
        let call = Call::get(Public, "/collections");
        self.0.send(cx, cache_list(call)).await
    }

    /// Returns one page of a collection. `cursor` is the `next_cursor` of the page before.
    pub async fn collection(
        &self,
        cx: &RequestContext,
        id: &CollectionId,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Fetched<Collection, Public>, Failure> {
        let call = Call::get(Public, "/collections/{id}")
            .path_id(id)
            .query("limit", limit)
            .query_opt("cursor", cursor);
        map_unknown_cursor(self.0.send(cx, cache_list(call)).await, cursor)
    }
}

/// The cache tag of all data about one product, from any backend.
pub(crate) fn product_tag(id: &ProductId) -> String {
    format!("product:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn sample() -> serde_json::Value {
        json!({
            "id": "p-1", "kind": "film", "name": "The Quiet Harbour", "description": "…",
            "category": "drama", "genres": ["drama"], "year": 2024, "runtimeMinutes": 118,
            "seasons": null, "maturity": "teen", "price": {"amount": 1299, "currency": "EUR"},
            "image": {"url": "https://img.example/p-1", "width": 1000, "height": 1500},
            "cast": [{"name": "A", "role": "B"}], "director": "C", "updatedAt": "2026-06-01T12:00:00Z"
        })
    }

    #[test]
    fn a_product_decodes_with_unknown_values_and_members() {
        let product: Product = from_value(sample()).unwrap();
        assert_eq!((product.kind, product.seasons), (Kind::Film, None));
        assert_eq!(product.price.amount, 1299);
        let mut newer = sample();
        newer["kind"] = "hologram".into();
        newer["maturity"] = "senior".into();
        newer["smell"] = json!({"kind": "rose"});
        let product: Product = from_value(newer).unwrap();
        assert_eq!(product.kind, Kind::Other);
        assert!(product.maturity > Maturity::Adult);
    }

    #[test]
    fn members_that_every_screen_needs_are_required() {
        for member in ["id", "name", "price", "image", "maturity"] {
            let mut incomplete = sample();
            incomplete.as_object_mut().unwrap().remove(member);
            assert!(from_value::<Product>(incomplete).is_err(), "{member}");
        }
        let mut path_traversal = sample();
        path_traversal["id"] = "..".into();
        assert!(from_value::<Product>(path_traversal).is_err());
    }

    #[test]
    fn lists_decode() {
        let collection =
            json!({"id": "featured", "title": "T", "items": [sample()], "nextCursor": "bzI"});
        let collection: Collection = from_value(collection).unwrap();
        assert_eq!(
            (collection.items.len(), collection.next_cursor.as_deref()),
            (1, Some("bzI"))
        );
        let results = json!({"items": [sample()], "total": 1, "nextCursor": null});
        assert_eq!(
            from_value::<SearchResults>(results).unwrap().next_cursor,
            None
        );
        let batch = json!({"items": [sample()], "notFound": ["p-999"]});
        let batch: Batch<Product> = from_value(batch).unwrap();
        assert_eq!(batch.not_found[0].to_string(), "p-999");
        let page = json!({"items": [sample()], "page": 1, "perPage": 20, "total": 360});
        assert_eq!(
            from_value::<NumberedPage<Product>>(page).unwrap().total,
            360
        );
        let suggestions = json!({"items": ["The Quiet Harbour"], "nextLetters": ["a", " "]});
        assert_eq!(
            from_value::<Suggestions>(suggestions).unwrap().next_letters,
            ["a", " "]
        );
    }
}
