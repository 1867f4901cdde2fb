//! The review backend: what people think of a product. Public, and fresh for as long as the backend says (half a
//! minute); who posts a review sees it at once.

use bff_core::outbound::{Call, Upstream, send};
use bff_core::scope::Scope;
use bff_core::{Caller, Code, Failure, Fetched, Public, RequestContext};
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::product::{self, ProductId};
use crate::user::Person;
use crate::{Batch, Timestamp, cache_policy, error_mapping};

/// The review was not accepted.
pub const REVIEW_REFUSED: Code = Code::new(
    "review_refused",
    422,
    "Review refused",
    "The review was not accepted: its product, rating, title or text is not valid.",
    "The caller can mend it; the same request again fails again.",
);

bff_core::id! {
    /// A review.
    ReviewId
}

/// What people think of one product.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reviews {
    /// Of what.
    pub product_id: ProductId,
    /// Between 1 and 5, with one decimal.
    pub average: f64,
    /// How many there are in all.
    pub count: u64,
    /// Some of them, newest first.
    pub items: Vec<Review>,
    /// Where the next part begins; absent at the end.
    pub next_cursor: Option<String>,
}

/// All reviews of one product in two numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Of what.
    pub product_id: ProductId,
    /// Between 1 and 5, with one decimal.
    pub average: f64,
    /// How many there are.
    pub count: u64,
}

/// What one person thinks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Its id.
    pub id: ReviewId,
    /// Of what.
    pub product_id: ProductId,
    /// Who wrote it.
    pub author: Person,
    /// 1 (worst) to 5.
    pub rating: u8,
    /// One line.
    pub title: String,
    /// The rest.
    pub text: String,
    /// When it was written.
    pub created_at: Timestamp,
}

/// A review to post.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewReview {
    /// Of what.
    pub product_id: ProductId,
    /// 1 (worst) to 5.
    pub rating: u8,
    /// 1 to 120 characters.
    pub title: String,
    /// 1 to 4000 characters.
    pub text: String,
}

/// The calls about reviews.
#[derive(Clone, Debug)]
pub struct ReviewClient(Upstream);

impl ReviewClient {
    /// A client of the backend at `up`.
    pub fn new(up: Upstream) -> Self {
        Self(up)
    }

    /// The reviews of one product, newest first.
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
        send(cx, &self.0, cache_policy::content(call, 10)).await
    }

    /// The summaries of at most 100 products.
    pub async fn summaries(
        &self,
        cx: &RequestContext,
        ids: &[ProductId],
    ) -> Result<Fetched<Batch<Summary>, Public>, Failure> {
        let call = Call::get(Public, "/reviews/summary").query_ids("ids", ids);
        send(
            cx,
            &self.0,
            cache_policy::content(tag_products(call, ids), 10),
        )
        .await
    }

    /// Posts a review of the caller's.
    pub async fn post(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        key: Option<HeaderValue>,
        draft: &NewReview,
    ) -> Result<Fetched<Review, Caller>, Failure> {
        let mut call = Call::post(caller.clone(), "/reviews")
            .json(draft)
            .cache_tag(tag(&draft.product_id));
        if let Some(key) = key {
            call = call.idempotency_key(key);
        }
        let outcome = send(cx, &self.0, call).await;
        error_mapping::map_idempotency_errors(error_mapping::map_status(
            outcome,
            422,
            REVIEW_REFUSED,
        ))
    }
}

/// Marks reviews by their products: posting one purges what is kept of that product's.
fn tag_products<S: Scope>(call: Call<S>, ids: &[ProductId]) -> Call<S> {
    // More than these are purged by time alone.
    let ids = ids.iter().take(20);
    ids.fold(call, |call, id| {
        call.cache_tag(tag(id)).cache_tag(product::tag(id))
    })
}

fn tag(id: &ProductId) -> String {
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
    fn a_draft_is_written_as_the_backend_reads_it() {
        let draft = NewReview {
            product_id: "p-1".parse().unwrap(),
            rating: 4,
            title: "T".into(),
            text: "X".into(),
        };
        let wire = json!({"productId": "p-1", "rating": 4, "title": "T", "text": "X"});
        assert_eq!(to_value(draft).unwrap(), wire);
    }
}
