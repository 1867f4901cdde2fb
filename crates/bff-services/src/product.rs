//! The product backend: the catalogue. Public; a product is fresh for a minute, a list for five, and both may stand in
//! for a backend that fails. What a product costs here is its list price; offers have their own backend.

use bff_core::outbound::{Call, Upstream, send};
use bff_core::{Failure, Fetched, Public, RequestContext};
use serde::Deserialize;

use crate::open_enum::open_enum;
use crate::{Batch, Items, Money, NumberedPage, Timestamp, cache_policy, error_mapping};

bff_core::id! {
    /// A film or series.
    ProductId
}
bff_core::id! {
    /// A row of products that an editor made.
    CollectionId
}

open_enum! {
    /// What a product is.
    Kind {
        /// One film.
        Film = "film",
        /// Several seasons.
        Series = "series",
        ..
        /// Something newer than this gateway.
        Other = "other"
    }
}
open_enum! {
    /// Who may see a product, the smallest audience last: a new level counts as the strictest.
    Maturity {
        /// Everybody.
        All = "all",
        /// From twelve years on.
        Teen = "teen",
        /// Adults.
        Adult = "adult",
        ..
        /// A level newer than this gateway.
        Unknown = "unknown"
    }
}

/// A film or series.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// What it is.
    pub kind: Kind,
    /// Its title.
    pub name: String,
    /// A paragraph of text.
    pub description: String,
    /// The id of its category.
    pub category: String,
    /// Ids of its genres.
    #[serde(default)]
    pub genres: Vec<String>,
    /// The year it came out.
    pub year: u16,
    /// How long it (of a series: one episode) is.
    pub runtime_minutes: u32,
    /// How many seasons; of a series only.
    pub seasons: Option<u32>,
    /// Who may see it.
    pub maturity: Maturity,
    /// The list price; what it costs in a region, its offers say.
    pub price: Money,
    /// The poster.
    pub image: Image,
    /// Who plays in it.
    #[serde(default)]
    pub cast: Vec<Role>,
    /// Who directed it.
    pub director: String,
    /// When any of this last changed.
    pub updated_at: Timestamp,
}

/// A picture at its full size.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// Where it is.
    pub url: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// Somebody in a part.
#[derive(Clone, Debug, Deserialize)]
pub struct Role {
    /// Who plays.
    pub name: String,
    /// What they play.
    pub role: String,
}

/// A category.
#[derive(Clone, Debug, Deserialize)]
pub struct Category {
    /// What products name it by.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A row without its products.
#[derive(Clone, Debug, Deserialize)]
pub struct CollectionSummary {
    /// Its id.
    pub id: CollectionId,
    /// Its title.
    pub title: String,
}

/// A row with a part of its products.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// Its id.
    pub id: CollectionId,
    /// Its title.
    pub title: String,
    /// The products of this part.
    pub items: Vec<Product>,
    /// Where the next part begins; absent at the end.
    pub next_cursor: Option<String>,
}

/// What a search found.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchResults {
    /// The products of this part, best match first.
    pub items: Vec<Product>,
    /// How many products match.
    pub total: u64,
    /// Where the next part begins; absent at the end.
    pub next_cursor: Option<String>,
}

/// What may be meant by the letters typed so far.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestions {
    /// Titles.
    pub items: Vec<String>,
    /// What may be typed next: single letters, or a space.
    #[serde(default)]
    pub next_letters: Vec<String>,
}

/// The catalogue's calls.
#[derive(Clone, Debug)]
pub struct ProductClient(Upstream);

impl ProductClient {
    /// A client of the backend at `up`.
    pub fn new(up: Upstream) -> Self {
        Self(up)
    }

    /// One product.
    pub async fn by_id(
        &self,
        cx: &RequestContext,
        id: &ProductId,
    ) -> Result<Fetched<Product, Public>, Failure> {
        // Whole pages wait for it.
        let call = Call::get(Public, "/products/{id}").path_id(id).hedged();
        send(cx, &self.0, cache_policy::detail(call.cache_tag(tag(id)))).await
    }

    /// At most 100 products.
    pub async fn by_ids(
        &self,
        cx: &RequestContext,
        ids: &[ProductId],
    ) -> Result<Fetched<Batch<Product>, Public>, Failure> {
        let call = Call::get(Public, "/products").query_ids("ids", ids);
        send(cx, &self.0, cache_policy::detail(call)).await
    }

    /// The page `page` (from 1) of all products, or of those of a category.
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
        send(cx, &self.0, cache_policy::listing(call)).await
    }

    /// What somebody who likes this product may like.
    pub async fn similar(
        &self,
        cx: &RequestContext,
        id: &ProductId,
        limit: u32,
    ) -> Result<Fetched<Items<Product>, Public>, Failure> {
        let call = Call::get(Public, "/products/{id}/similar")
            .path_id(id)
            .query("limit", limit);
        send(cx, &self.0, cache_policy::listing(call)).await
    }

    /// What has every word of `q`; an empty text finds nothing.
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
        error_mapping::map_invalid_cursor(
            send(cx, &self.0, cache_policy::listing(call)).await,
            cursor,
        )
    }

    /// What `prefix` may become.
    pub async fn suggestions(
        &self,
        cx: &RequestContext,
        prefix: &str,
        limit: u32,
    ) -> Result<Fetched<Suggestions, Public>, Failure> {
        let call = Call::get(Public, "/suggestions")
            .query("prefix", prefix)
            .query("limit", limit);
        send(cx, &self.0, cache_policy::listing(call)).await
    }

    /// Every category.
    pub async fn categories(
        &self,
        cx: &RequestContext,
    ) -> Result<Fetched<Items<Category>, Public>, Failure> {
        let call = Call::get(Public, "/categories");
        send(cx, &self.0, cache_policy::listing(call)).await
    }

    /// Every row, the featured one first.
    pub async fn collections(
        &self,
        cx: &RequestContext,
    ) -> Result<Fetched<Items<CollectionSummary>, Public>, Failure> {
        let call = Call::get(Public, "/collections");
        send(cx, &self.0, cache_policy::listing(call)).await
    }

    /// One row from `cursor` on.
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
        error_mapping::map_invalid_cursor(
            send(cx, &self.0, cache_policy::listing(call)).await,
            cursor,
        )
    }
}

/// What everything about one product can be purged by, at whichever backend it is.
pub(crate) fn tag(id: &ProductId) -> String {
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
    fn a_product_decodes_and_bears_new_words_and_members() {
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
    fn what_every_screen_relies_on_is_required() {
        for member in ["id", "name", "price", "image", "maturity"] {
            let mut lacking = sample();
            lacking.as_object_mut().unwrap().remove(member);
            assert!(from_value::<Product>(lacking).is_err(), "{member}");
        }
        let mut walking = sample();
        walking["id"] = "..".into();
        assert!(from_value::<Product>(walking).is_err());
    }

    #[test]
    fn lists_decode() {
        let row = json!({"id": "featured", "title": "T", "items": [sample()], "nextCursor": "bzI"});
        let row: Collection = from_value(row).unwrap();
        assert_eq!(
            (row.items.len(), row.next_cursor.as_deref()),
            (1, Some("bzI"))
        );
        let found = json!({"items": [sample()], "total": 1, "nextCursor": null});
        assert_eq!(
            from_value::<SearchResults>(found).unwrap().next_cursor,
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
        let letters = json!({"items": ["The Quiet Harbour"], "nextLetters": ["a", " "]});
        assert_eq!(
            from_value::<Suggestions>(letters).unwrap().next_letters,
            ["a", " "]
        );
    }
}
