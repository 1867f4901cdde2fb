//! The entries of the catalogue: products with their precomputed representations, and collections.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Time;
use crate::response::{etag, to_bytes};

/// An amount of money in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Money {
    pub(crate) amount: u64,
    pub(crate) currency: String,
}

impl Money {
    pub(crate) fn new(amount: u64, currency: &str) -> Self {
        Self {
            amount,
            currency: currency.to_owned(),
        }
    }

    pub(crate) fn eur(amount: u64) -> Self {
        Self::new(amount, "EUR")
    }
}

/// A film or series in the format described in `product.rs`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) category: &'static str,
    pub(crate) genres: Vec<&'static str>,
    pub(crate) year: u16,
    pub(crate) runtime_minutes: u32,
    pub(crate) seasons: Option<u8>,
    pub(crate) maturity: Maturity,
    pub(crate) price: Money,
    pub(crate) image: Image,
    pub(crate) cast: Vec<Role>,
    pub(crate) director: String,
    pub(crate) updated_at: Time,
}

/// The kind of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Film,
    Series,
}

/// The audience of a product, the most restricted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Maturity {
    All,
    Teen,
    Adult,
}

/// The poster.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Image {
    pub(crate) url: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A member of the cast.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) role: String,
}

/// A product with its precomputed representations.
pub(crate) struct CatalogueEntry {
    pub(crate) product: Product,
    pub(crate) number: usize,
    /// The JSON for lists.
    pub(crate) raw_json: Box<RawValue>,
    /// The JSON for a response of its own, and its `ETag`.
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    /// The name in lower case.
    pub(crate) lower_name: String,
    /// The other searchable text in lower case: category, genres, director and cast.
    pub(crate) lower_text: String,
}

impl CatalogueEntry {
    pub(super) fn new(number: usize, product: Product) -> Self {
        let bytes = to_bytes(&product);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let cast: Vec<&str> = product.cast.iter().map(|role| role.name.as_str()).collect();
        let searchable = [
            product.category,
            &product.genres.join(" "),
            &product.director,
            &cast.join(" "),
        ];
        Self {
            number,
            etag: etag(&bytes),
            lower_name: product.name.to_lowercase(),
            lower_text: searchable.join(" ").to_lowercase(),
            raw_json: RawValue::from_string(text).unwrap_or_default(),
            bytes,
            product,
        }
    }
}

/// A named list of products.
pub(crate) struct Collection {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// Indices into [`super::Catalogue::products`].
    pub(crate) items: Vec<usize>,
}
