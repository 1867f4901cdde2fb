//! The rows of the browse screen, from the configuration.

use std::collections::HashSet;

use bff_core::GatewayPart;
use bff_core::server::GatewayBuilder;
use bff_services::product::CollectionId;
use serde::{Deserialize, Serialize};

/// The collection whose first product is the hero.
const FEATURED: &str = "featured";

/// The table `[screens.browse]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BrowseConfig {
    /// The collections that are shown as rows, top to bottom.
    pub rows: Vec<CollectionId>,
}

/// The collections of the browse screen.
#[derive(Clone, Debug)]
pub struct BrowseRows {
    /// The one whose first product is the hero.
    pub(crate) featured: CollectionId,
    /// The rows, top to bottom.
    pub(crate) rows: Vec<CollectionId>,
}

impl GatewayPart for BrowseRows {
    type Config = BrowseConfig;

    /// Refuses a collection that is a row twice, because a row is identified by its collection.
    fn open(_: &GatewayBuilder<'_>, config: &BrowseConfig) -> Result<Self, String> {
        let mut seen = HashSet::new();
        if let Some(twice) = config.rows.iter().find(|id| !seen.insert(*id)) {
            return Err(format!("duplicate row {twice} in screens.browse.rows"));
        }
        Ok(Self {
            featured: FEATURED.parse().map_err(|e| format!("{FEATURED}: {e}"))?,
            rows: config.rows.clone(),
        })
    }
}
