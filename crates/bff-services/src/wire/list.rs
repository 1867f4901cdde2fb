//! The four shapes of a list response. Each omits the elements that do not decode.

use bff_core::outbound::{omit_undecodable, omit_undecodable_or_null};
use serde::Deserialize;

use crate::product::ProductId;

/// A complete list.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Items<T> {
    /// In the backend's order.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<T>,
}

/// The response to a request by ids. A request may name at most 100 ids.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
pub struct Batch<T> {
    /// In the order of the request, without duplicates.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<T>,
    /// The ids that the backend does not have.
    #[serde(default, deserialize_with = "omit_undecodable_or_null")]
    pub not_found: Vec<ProductId>,
}

/// One page of a list with cursors.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
pub struct CursorPage<T> {
    /// In the backend's order.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<T>,
    /// The opaque cursor of the next page; absent on the last page.
    pub next_cursor: Option<String>,
}

/// One page of a list with page numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
pub struct NumberedPage<T> {
    /// In the backend's order.
    #[serde(deserialize_with = "omit_undecodable")]
    pub items: Vec<T>,
    /// From 1.
    pub page: u32,
    /// The maximum number of items on a page.
    pub per_page: u32,
    /// The number of items on all pages.
    pub total: u64,
}
