//! What the client asked for: everything, some fields, or what a GraphQL document selects.

use std::sync::Arc;

/// Which sections the client asked for, and of each which members. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FieldSelection(Option<Arc<Vec<SelectedField>>>);

/// One section asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectedField {
    /// The section's name.
    pub(crate) name: String,
    /// The members asked for, as a tree; empty for all of them.
    pub(crate) members: Vec<SelectedField>,
    /// The response keys it has in a GraphQL answer (aliases can make several).
    pub(crate) keys: Vec<String>,
}

impl SelectedField {
    /// A section asked for under its own name, so far with no member picked.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            members: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl FieldSelection {
    /// Everything.
    pub const ALL: Self = Self(None);

    pub(crate) fn only(asked: Vec<SelectedField>) -> Self {
        Self(Some(Arc::new(asked)))
    }

    /// Whether the section (of `rows.<id>`, the `rows`) was asked for.
    pub fn contains(&self, section: &str) -> bool {
        self.0.is_none() || self.asked(section).is_some()
    }

    /// What was asked for of a section; `None` when it was not asked for or everything was.
    pub(crate) fn asked(&self, section: &str) -> Option<&SelectedField> {
        let asked = self.0.as_ref()?;
        let name = section.split_once('.').map_or(section, |(name, _)| name);
        asked.iter().find(|a| a.name == name)
    }

    /// The response keys a section has in a GraphQL answer.
    #[cfg(feature = "graphql")]
    pub(crate) fn keys(&self, section: &str) -> &[String] {
        self.asked(section).map_or(&[], |a| &a.keys)
    }
}
