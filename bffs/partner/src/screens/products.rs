//! The catalogue, page by numbered page.

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::{NumberedPage, product};
use serde::Serialize;
use utoipa::ToSchema;

use super::product::Product;
use crate::Upstreams;

/// One page of the catalogue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProductsPage {
    /// The products of the page.
    pub products: Products,
}

/// A numbered page of products.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Products {
    /// The products, in the catalogue's order.
    pub items: Vec<Product>,
    /// Which page this is, from 1.
    pub page: u32,
    /// The most products a page has.
    pub per_page: u32,
    /// How many products all pages have together.
    pub total: u64,
}

impl ProductsPage {
    /// Fetches the page numbered `at.0` of pages of `at.1` products.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        at: (u32, u32),
        category: Option<&str>,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let list = up.product.list(cx, at.0, at.1, category);
        let products = page.required("products", list, Products::from_wire).await?;
        Ok(page.build(Self { products }))
    }
}

impl Products {
    fn from_wire(wire: &NumberedPage<product::Product>) -> Self {
        Self {
            items: wire.items.iter().map(Product::from_wire).collect(),
            page: wire.page,
            per_page: wire.per_page,
            total: wire.total,
        }
    }
}
