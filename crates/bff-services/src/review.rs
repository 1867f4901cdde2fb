//! The review backend: reviews and ratings of products.
//!
//! Its data is public, and fresh for as long as the backend allows (30 s). Posting a review purges the cached reviews of
//! its product, so the author sees the review at once.

use bff_core::outbound::{Call, Upstream, omit_undecodable};
use bff_core::scope::Scope;
use bff_core::{Caller, Code, Failure, Fetched, Public, RequestContext, UpstreamClient};
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::product::{ProductId, product_tag};
use crate::user::Person;
use crate::wire::cache_policy::allow_stale;
use crate::wire::error_mapping::{map_idempotency_errors, map_status};
use crate::{Batch, Timestamp};

/// The review was rejected.
pub const REVIEW_REFUSED: Code = Code::new(
    "review_refused",
    422,
    "Review refused",
    "The review was rejected: its product, rating, title or text is not valid.",
    "The client can fix it; the same request fails again.",
);

bff_core::id! {
    /// The id of a review.
    ReviewId
}

/// One page of the reviews of a product.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reviews {
    /// The product.
    pub product_id: ProductId,
    /// The mean rating, 1 to 5, with one decimal.
    pub average: f64,
    /// The number of all reviews.
    pub count: u64,
    /// The reviews of this page, newest first.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<Review>,
    /// The cursor of the next page; absent on the last page.
    pub next_cursor: Option<String>,
}

/// The mean rating and the number of reviews of one product.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The product.
    pub product_id: ProductId,
    /// The mean rating, 1 to 5, with one decimal.
    pub average: f64,
    /// The number of reviews.
    pub count: u64,
}

/// One review.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Its id.
    pub id: ReviewId,
    /// The product.
    pub product_id: ProductId,
    /// Its author.
    pub author: Person,
    /// The rating, 1 (worst) to 5.
    pub rating: u8,
    /// The headline.
    pub title: String,
    /// The body.
    pub text: String,
    /// The time at which it was posted.
    pub created_at: Timestamp,
}

/// A review to post.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewReview {
    /// The product.
    pub product_id: ProductId,
    /// The rating, 1 (worst) to 5.
    pub rating: u8,
    /// The headline, 1 to 120 characters.
    pub title: String,
    /// The body, 1 to 4000 characters.
    pub text: String,
}

/// The client of the review backend.
#[derive(Clone, Debug)]
pub struct ReviewClient(Upstream);

impl UpstreamClient for ReviewClient {
    type Upstream = Upstream;

    fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl ReviewClient {
    /// Returns the reviews of one product, newest first.
    pub async fn of_product(
        &self,
        cx: &RequestContext,
        id: &ProductId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Fetched<Reviews, Public>, Failure> {
        let call = Call::get(Public, "/reviews")
            .query("productId", id)
            .single_resource()
            .query("limit", limit)
            .query_opt("cursor", cursor);
        let call = tag_products(call, std::slice::from_ref(id));
        self.0.send(cx, allow_stale(call, 10)).await
    }

    /// Returns the summaries of at most 100 products.
    pub async fn summaries(
        &self,
        cx: &RequestContext,
        ids: &[ProductId],
    ) -> Result<Fetched<Batch<Summary>, Public>, Failure> {
        let call = Call::get(Public, "/reviews/summary").query_ids("ids", ids);
        let call = tag_products(call, ids);
        self.0.send(cx, allow_stale(call, 10)).await
    }

    /// Posts a review by the caller.
    pub async fn post(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        key: Option<HeaderValue>,
        review: &NewReview,
    ) -> Result<Fetched<Review, Caller>, Failure> {
        let mut call = Call::post(caller.clone(), "/reviews")
            .json(review)
            .cache_tag(reviews_tag(&review.product_id));
        if let Some(key) = key {
            call = call.idempotency_key(key);
        }
        let outcome = self.0.send(cx, call).await;
        map_idempotency_errors(map_status(outcome, 422, REVIEW_REFUSED))
    }
}

/// Tags cached reviews with their products, for the purge after a new review.
fn tag_products<S: Scope>(call: Call<S>, ids: &[ProductId]) -> Call<S> {
    // Products after the first 20 have no tag: their reviews expire only by age.
    let ids = ids.iter().take(20);
    ids.fold(call, |call, id| {
        call.cache_tag(reviews_tag(id)).cache_tag(product_tag(id))
    })
}

fn reviews_tag(id: &ProductId) -> String {
    format!("reviews:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn reviews_decode() {
        let one = json!({
            "id": "r-1-1", "productId": "p-1", "author": {"id": "u-7", "name": "Mia"}, "rating": 5,
            "title": "Good", "text": "Very.", "createdAt": "2026-05-30T08:00:00Z"
        });
        let all = json!({
            "productId": "p-1", "average": 4.2, "count": 37, "items": [one], "nextCursor": null
        });
        let all: Reviews = from_value(all).unwrap();
        assert_eq!((all.count, all.items[0].rating), (37, 5));
        let summary = json!({"productId": "p-1", "average": 4.0, "count": 3});
        let batch = json!({"items": [summary], "notFound": []});
        assert_eq!(from_value::<Batch<Summary>>(batch).unwrap().items.len(), 1);
    }

    #[test]
    fn a_new_review_has_the_backends_format() {
        let review = NewReview {
            product_id: "p-1".parse().unwrap(),
            rating: 4,
            title: "T".into(),
            text: "X".into(),
        };
        let wire = json!({"productId": "p-1", "rating": 4, "title": "T", "text": "X"});
        assert_eq!(to_value(review).unwrap(), wire);
    }
}
