//! The shared truth about products: generated once, the same in every process, never changed.
//!
//! It does not depend on the seed: `p-1` is the same film everywhere, with the same `ETag`.

mod make;
mod words;

use std::sync::LazyLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Time;
use crate::response::{etag, to_bytes};

pub(crate) use words::{CATEGORIES, person};

/// How many products there are: `p-1` to `p-360`.
pub(crate) const PRODUCTS: usize = 360;

/// The catalogue.
pub(crate) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::generate);

/// An amount in the smallest unit of its currency.
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

/// One film or series; the wire is described in `product.rs`.
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

/// What sort of product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Film,
    Series,
}

/// Who may watch, from the widest to the narrowest audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Maturity {
    All,
    Teen,
    Adult,
}

/// The key art.
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

/// A product with what serving it needs, worked out once.
pub(crate) struct Listed {
    pub(crate) product: Product,
    pub(crate) number: usize,
    /// The JSON, to be pasted into lists.
    pub(crate) raw: Box<RawValue>,
    /// The JSON, to be sent alone, and its tag.
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    /// The name in lower case.
    pub(crate) key: String,
    /// What else a search may hit, in lower case.
    pub(crate) haystack: String,
}

/// A named row of products.
pub(crate) struct Collection {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// Indices into [`Catalogue::products`].
    pub(crate) items: Vec<usize>,
}

/// Products in the order of their numbers, and the rows.
pub(crate) struct Catalogue {
    pub(crate) products: Vec<Listed>,
    pub(crate) collections: Vec<Collection>,
}

impl Catalogue {
    fn generate() -> Self {
        let products: Vec<Listed> = (1..=PRODUCTS)
            .map(|n| Listed::new(n, make::product(n)))
            .collect();
        let collections = make::collections(&products);
        Self {
            products,
            collections,
        }
    }

    /// The product with this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Listed> {
        let number: usize = id.strip_prefix("p-")?.parse().ok()?;
        let listed = self.products.get(number.checked_sub(1)?)?;
        // `p-01` is not another name of `p-1`.
        (listed.product.id == id).then_some(listed)
    }
}

impl Listed {
    fn new(number: usize, product: Product) -> Self {
        let bytes = to_bytes(&product);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let cast: Vec<&str> = product.cast.iter().map(|role| role.name.as_str()).collect();
        let hay = [
            product.category,
            &product.genres.join(" "),
            &product.director,
            &cast.join(" "),
        ];
        Self {
            number,
            etag: etag(&bytes),
            key: product.name.to_lowercase(),
            haystack: hay.join(" ").to_lowercase(),
            raw: RawValue::from_string(text).unwrap_or_default(),
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
    fn products_have_distinct_names_and_sound_rows() {
        let names: BTreeSet<_> = CATALOGUE.products.iter().map(|l| &l.key).collect();
        assert_eq!(names.len(), PRODUCTS);
        assert_eq!(CATALOGUE.collections[0].id, "featured");
        assert!(CATALOGUE.collections.iter().all(|c| c.items.len() >= 10));
        for listed in &CATALOGUE.products {
            let sentences = listed.product.description.matches('.').count();
            assert!(
                (2..=4).contains(&sentences),
                "{}",
                listed.product.description
            );
        }
    }

    #[test]
    fn ids_have_one_spelling() {
        assert!(CATALOGUE.by_id("p-1").is_some());
        for wrong in ["p-0", "p-01", "p-361", "p-", "1", "p-+1", ""] {
            assert!(CATALOGUE.by_id(wrong).is_none(), "{wrong}");
        }
    }
}
