//! The four shapes in which every backend answers with many things.

use serde::Deserialize;

use crate::product::ProductId;

/// All there is.
#[derive(Clone, Debug, Deserialize)]
pub struct Items<T> {
    /// In the backend's order.
    pub items: Vec<T>,
}

/// What was found of the ids asked for; at most 100 may be asked for at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch<T> {
    /// In the order asked, each once.
    pub items: Vec<T>,
    /// The ids of which the backend knows nothing.
    #[serde(default)]
    pub not_found: Vec<ProductId>,
}

/// A part of a list, and where the next part begins.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CursorPage<T> {
    /// In the backend's order.
    pub items: Vec<T>,
    /// Opaque; absent at the end.
    pub next_cursor: Option<String>,
}

/// One numbered page of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NumberedPage<T> {
    /// In the backend's order.
    pub items: Vec<T>,
    /// From 1.
    pub page: u32,
    /// The most items a page has.
    pub per_page: u32,
    /// How many items all pages have together.
    pub total: u64,
}
