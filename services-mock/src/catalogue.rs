//! The catalogue: generated once, immutable, and the same in every process.
//!
//! It does not depend on the mocks' seed: `p-1` is the same film everywhere, with the same `ETag`.

mod generate;
mod words;

use std::sync::LazyLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Time;
use crate::response::{etag, to_bytes};

pub(crate) use words::{CATEGORIES, person_name};

/// The number of products: `p-1` to `p-360`.
pub(crate) const PRODUCTS: usize = 360;

/// The catalogue.
pub(crate) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::generate);

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

/// A named list of products.
pub(crate) struct Collection {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// Indices into [`Catalogue::products`].
    pub(crate) items: Vec<usize>,
}

/// The products in the order of their numbers, and the collections.
pub(crate) struct Catalogue {
    pub(crate) products: Vec<CatalogueEntry>,
    pub(crate) collections: Vec<Collection>,
}

impl Catalogue {
    fn generate() -> Self {
        let products: Vec<CatalogueEntry> = (1..=PRODUCTS)
            .map(|n| CatalogueEntry::new(n, generate::product(n)))
            .collect();
        let collections = generate::collections(&products);
        Self {
            products,
            collections,
        }
    }

    /// The product with this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<&CatalogueEntry> {
        let number: usize = id.strip_prefix("p-")?.parse().ok()?;
        let entry = self.products.get(number.checked_sub(1)?)?;
        // `p-01` is not an alias of `p-1`.
        (entry.product.id == id).then_some(entry)
    }
}

impl CatalogueEntry {
    fn new(number: usize, product: Product) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn products_have_distinct_names_and_collections_have_items() {
        let names: BTreeSet<_> = CATALOGUE.products.iter().map(|l| &l.lower_name).collect();
        assert_eq!(names.len(), PRODUCTS);
        assert_eq!(CATALOGUE.collections[0].id, "featured");
        assert!(CATALOGUE.collections.iter().all(|c| c.items.len() >= 10));
        for entry in &CATALOGUE.products {
            let sentences = entry.product.description.matches('.').count();
            assert!(
                (2..=4).contains(&sentences),
                "{}",
                entry.product.description
            );
        }
    }

    #[test]
    fn ids_have_one_spelling() {
        assert!(CATALOGUE.by_id("p-1").is_some());
        for invalid in ["p-0", "p-01", "p-361", "p-", "1", "p-+1", ""] {
            assert!(CATALOGUE.by_id(invalid).is_none(), "{invalid}");
        }
    }
}
