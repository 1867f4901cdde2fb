//! What a document may cost, counted before anything is executed.
//!
//! The library limits depth, complexity and the directives of a field. Our own walk over the parsed document
//! goes first and counts the rest: operations, aliases, and how large fragments make the document, for the
//! library's own checks would follow fragments that double at every level for hours.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Pos, Positioned, ServerError, ValidationResult};

use super::Config;

/// How many selections a document may have once its fragments are written out.
const MAX_SELECTIONS: usize = 2000;
/// How deep selections and fragments may nest: as the library's own bound.
const MAX_NESTING: usize = 32;
/// How deep and how complex the explorer's own question about the schema may be; asked in development only.
const INTROSPECTION: (usize, usize) = (25, 1000);

/// Whether the document is short enough to be parsed. The parser itself bears any nesting that fits.
pub(super) fn check_text(text: &str, config: &Config) -> Result<(), ServerError> {
    let most = config.max_document_bytes;
    if text.len() <= most {
        return Ok(());
    }
    let text = format!("The document is longer than {most} bytes.");
    Err(refused(text, None))
}

/// Whether the document keeps the limits that the library does not know.
pub(super) fn check(
    document: &ExecutableDocument,
    config: &Config,
    introspection: bool,
) -> Result<(), ServerError> {
    let operations = document.operations.iter().len();
    if operations > config.max_operations {
        let most = config.max_operations;
        return Err(refused(
            format!("The document has more than {most} operations."),
            None,
        ));
    }
    let mut walk = Walk {
        document,
        config,
        introspection,
        aliases: 0,
        selections: 0,
    };
    for (_, operation) in document.operations.iter() {
        walk.directives(operation.node.directives.len(), operation.pos)?;
        walk.set(&operation.node.selection_set.node, 0)?;
    }
    Ok(())
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    config: &'a Config,
    introspection: bool,
    aliases: usize,
    selections: usize,
}

impl<'a> Walk<'a> {
    fn set(&mut self, set: &'a SelectionSet, level: usize) -> Result<(), ServerError> {
        let mut keys = HashSet::with_capacity(set.items.len());
        for item in &set.items {
            let at = item.pos;
            self.selections += 1;
            if self.selections > MAX_SELECTIONS {
                return Err(refused("The document selects too much.", Some(at)));
            }
            // A fragment cycle ends here as well.
            if level > MAX_NESTING {
                return Err(refused("The document nests too deep.", Some(at)));
            }
            self.directives(item.node.directives().len(), at)?;
            match &item.node {
                Selection::Field(field) => {
                    let name = field.node.name.node.as_str();
                    if !self.introspection && matches!(name, "__schema" | "__type") {
                        return Err(refused("Introspection is off.", Some(at)));
                    }
                    let again = !keys.insert(field.node.response_key().node.as_str());
                    if again || field.node.alias.is_some() {
                        self.alias(at)?;
                    }
                    self.set(&field.node.selection_set.node, level + 1)?;
                }
                Selection::InlineFragment(fragment) => {
                    self.set(&fragment.node.selection_set.node, level + 1)?;
                }
                Selection::FragmentSpread(spread) => {
                    let fragments = &self.document.fragments;
                    if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                        self.set(&fragment.node.selection_set.node, level + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// An alias, or a field written a second time: the library executes it a second time.
    fn alias(&mut self, at: Pos) -> Result<(), ServerError> {
        self.aliases += 1;
        if self.aliases <= self.config.max_aliases {
            return Ok(());
        }
        let most = self.config.max_aliases;
        let text = format!("The document has more than {most} aliases and repeated fields.");
        Err(refused(text, Some(at)))
    }

    fn directives(&self, count: usize, at: Pos) -> Result<(), ServerError> {
        if count <= self.config.max_directives {
            return Ok(());
        }
        let most = self.config.max_directives;
        Err(refused(
            format!("More than {most} directives stand here."),
            Some(at),
        ))
    }
}

/// Whether the selection asks about the schema and nothing else.
pub(super) fn is_introspection(set: &Positioned<SelectionSet>) -> bool {
    set.node.items.iter().all(|item| match &item.node {
        Selection::Field(field) => {
            matches!(
                field.node.name.node.as_str(),
                "__schema" | "__type" | "__typename"
            )
        }
        _ => false,
    })
}

/// A document that is refused.
pub(super) fn refused(text: impl Into<String>, at: Option<Pos>) -> ServerError {
    ServerError::new(text, at)
}

/// In a request's data: it only asks about the schema.
pub(super) struct IntrospectionQuery;

/// Depth and complexity in development. They are the library's own measures and the same bounds as in production,
/// but for the explorer's question about the schema, which is deeper than any screen.
pub(super) struct LimitsWithIntrospection {
    pub(super) depth: usize,
    pub(super) complexity: usize,
}

impl ExtensionFactory for LimitsWithIntrospection {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self { ..*self })
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for LimitsWithIntrospection {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let measured = next.run(ctx).await?;
        let (depth, complexity) = match ctx.data_opt::<IntrospectionQuery>() {
            Some(_) => INTROSPECTION,
            None => (self.depth, self.complexity),
        };
        if measured.complexity > complexity {
            return Err(vec![refused("Query is too complex.", None)]);
        }
        if measured.depth > depth {
            return Err(vec![refused("Query is nested too deep.", None)]);
        }
        Ok(measured)
    }
}
