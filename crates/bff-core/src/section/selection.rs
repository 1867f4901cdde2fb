//! The client's selection: all fields, the `fields` parameter, or the fields of a GraphQL document.

use std::sync::Arc;

/// The selected sections and their selected members; `None` selects everything. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FieldSelection(Option<Arc<Vec<SelectedField>>>);

/// One selected section or member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectedField {
    pub(crate) name: String,
    /// The selected members; empty selects all of them.
    pub(crate) members: Vec<SelectedField>,
    /// Its response keys in a GraphQL response: several if the document uses aliases.
    pub(crate) response_keys: Vec<String>,
}

impl SelectedField {
    /// A field without selected members or response keys.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            members: Vec::new(),
            response_keys: Vec::new(),
        }
    }
}

impl FieldSelection {
    /// Selects everything.
    pub const ALL: Self = Self(None);

    pub(crate) fn only(fields: Vec<SelectedField>) -> Self {
        Self(Some(Arc::new(fields)))
    }

    /// Whether the section is selected. For `rows.<id>` this is whether `rows` is.
    pub fn contains(&self, section: &str) -> bool {
        self.0.is_none() || self.find(section).is_some()
    }

    /// The selected members of a section; `None` if it is not selected or everything is.
    pub(crate) fn find(&self, section: &str) -> Option<&SelectedField> {
        let fields = self.0.as_ref()?;
        let name = section.split_once('.').map_or(section, |(name, _)| name);
        fields.iter().find(|field| field.name == name)
    }

    /// The response keys of a section in a GraphQL response.
    #[cfg(feature = "graphql")]
    pub(crate) fn response_keys(&self, section: &str) -> &[String] {
        self.find(section).map_or(&[], |field| &field.response_keys)
    }
}
