//! The catalogue, in numbered pages.

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

/// A page of products with its number.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Products {
    /// The products, in the catalogue's order.
    pub items: Vec<Product>,
    /// The page number, from 1.
    pub page: u32,
    /// The maximum number of products on a page.
    pub per_page: u32,
    /// The number of products on all pages.
    pub total: u64,
}

impl ProductsPage {
    /// Fetches page `number` of pages with `per_page` products.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        (number, per_page): (u32, u32),
        category: Option<&str>,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let list = up.product.list(cx, number, per_page, category);
        let products = screen
            .required("products", list, Products::from_wire)
            .await?;
        Ok(screen.build(Self { products }))
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
