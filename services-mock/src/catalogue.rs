//! The catalogue: generated once, immutable, and the same in every process.
//!
//! It does not depend on the mocks' seed: `p-1` is the same film everywhere, with the same `ETag`.

mod entry;
mod generate;
mod words;

use std::sync::LazyLock;

pub(crate) use entry::{CatalogueEntry, Money};
pub(crate) use words::{CATEGORIES, person_name};

use entry::Collection;

/// The number of products: `p-1` to `p-360`.
pub(crate) const PRODUCTS: usize = 360;

/// The catalogue.
pub(crate) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::generate);

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
