//! Reviews and their summaries in the wire format, and the validation of a new review.

use serde::{Deserialize, Serialize};

use crate::catalogue::CATALOGUE;
use crate::clock::Time;
use crate::response::Problem;
use crate::users::UserRef;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review {
    pub(super) id: String,
    pub(super) product_id: String,
    pub(super) author: UserRef,
    pub(super) rating: u8,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) created_at: Time,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    product_id: &'a str,
    average: f64,
    count: usize,
}

impl<'a> Summary<'a> {
    pub(super) fn new(product_id: &'a str, reviews: &[&Review]) -> Self {
        let sum: u32 = reviews.iter().map(|r| u32::from(r.rating)).sum();
        let count = u32::try_from(reviews.len()).unwrap_or(u32::MAX).max(1);
        let average = (f64::from(sum) / f64::from(count) * 10.0).round() / 10.0;
        Self {
            product_id,
            average,
            count: reviews.len(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewReview {
    pub(super) product_id: String,
    pub(super) rating: u8,
    pub(super) title: String,
    pub(super) text: String,
}

impl NewReview {
    /// Validates the review and returns the number of its product.
    pub(super) fn check(&self) -> Result<usize, Problem> {
        let within = |text: &str, max: usize| (1..=max).contains(&text.trim().chars().count());
        if !(1..=5).contains(&self.rating) {
            return Err(Problem::invalid("rating must be between 1 and 5"));
        }
        if !within(&self.title, 120) {
            return Err(Problem::invalid("title must have 1 to 120 characters"));
        }
        if !within(&self.text, 4000) {
            return Err(Problem::invalid("text must have 1 to 4000 characters"));
        }
        let entry = CATALOGUE.by_id(&self.product_id);
        entry
            .map(|l| l.number)
            .ok_or_else(|| Problem::invalid("productId is not a product"))
    }
}
