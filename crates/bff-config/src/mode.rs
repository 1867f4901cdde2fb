//! The one switch between development and production.

use serde::{Deserialize, Serialize};

/// The environment that this process runs in. The default is production.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing that helps an attacker is visible. A demo secret is a configuration mistake.
    #[default]
    Production,
    /// Explorers, introspection, demo users and demo keys are on.
    Development,
}

impl Mode {
    /// Whether this is production.
    pub fn is_production(self) -> bool {
        self == Self::Production
    }
}
