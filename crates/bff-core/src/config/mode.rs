//! The one switch between a developer's machine and everything else.

use serde::{Deserialize, Serialize};

/// Which world this process lives in. Whatever forgets to say so runs in production.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is shown that helps an attacker; a demo secret refuses to start.
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
