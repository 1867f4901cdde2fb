//! Limits of GraphQL documents. Every gateway has this table, so that all have the same defaults.

use serde::{Deserialize, Serialize};

/// Limits for GraphQL requests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Maximum nesting of fields. Default 10: a screen needs 4 to 7, and a deeper document follows cycles of types.
    pub max_depth: usize,
    /// Maximum complexity: each field counts 1, unless the schema sets another value. Default 300: the largest
    /// complete screen has about 100.
    pub max_complexity: usize,
    /// Maximum number of aliases and repeated fields. Default 30: each one makes the gateway repeat the same work.
    pub max_aliases: usize,
    /// Maximum number of operations in a document; one of them is executed. Default 5: tools send a few together.
    pub max_operations: usize,
    /// Maximum number of directives on one field, fragment or operation. Default 20: real documents use two.
    pub max_directives: usize,
    /// Maximum size of the document, in bytes. Default 16384 (16 KiB): a document that selects every screen has 6 KiB.
    pub max_document_bytes: usize,
    /// Maximum size of the body with document and variables, in bytes. Default 65536 (64 KiB).
    pub max_body_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_depth: 10,
            max_complexity: 300,
            max_aliases: 30,
            max_operations: 5,
            max_directives: 20,
            max_document_bytes: 16 << 10,
            max_body_bytes: 64 << 10,
        }
    }
}
