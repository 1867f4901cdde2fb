//! Checks the cost of a document before its execution.
//!
//! async-graphql limits depth, complexity and the directives of a field. The checks here run before it. They count
//! operations, aliases, and selections with all fragments expanded. Without the last limit, fragments that double at
//! every level would occupy async-graphql's checks for hours.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Pos, Positioned, ServerError, ValidationResult};

use crate::graphql_config::Config;

/// Maximum number of selections, with all fragments expanded.
const MAX_SELECTIONS: usize = 2000;
/// Maximum nesting of selections and fragments, the same as in async-graphql.
const MAX_NESTING_DEPTH: usize = 32;
/// Maximum depth and complexity of an introspection query, in development only.
const INTROSPECTION_LIMITS: (usize, usize) = (25, 1000);

/// Checks the length before parsing. The parser can handle any nesting within this length.
pub(super) fn check_text(text: &str, config: &Config) -> Result<(), ServerError> {
    let max = config.max_document_bytes;
    if text.len() <= max {
        return Ok(());
    }
    let text = format!("The document is longer than {max} bytes.");
    Err(error(text, None))
}

/// Checks the limits that async-graphql does not have.
pub(super) fn check(
    document: &ExecutableDocument,
    config: &Config,
    introspection: bool,
) -> Result<(), ServerError> {
    let operations = document.operations.iter().len();
    if operations > config.max_operations {
        let max = config.max_operations;
        let text = format!("The document has more than {max} operations.");
        return Err(error(text, None));
    }
    let mut walk = Walk {
        document,
        config,
        introspection,
        aliases: 0,
        selections: 0,
    };
    for (_, operation) in document.operations.iter() {
        walk.check_directives(operation.node.directives.len(), operation.pos)?;
        walk.visit(&operation.node.selection_set.node, 0)?;
    }
    Ok(())
}

/// Visits all selections of a document, counts them and checks the limits.
struct Walk<'a> {
    document: &'a ExecutableDocument,
    config: &'a Config,
    introspection: bool,
    aliases: usize,
    selections: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, set: &'a SelectionSet, level: usize) -> Result<(), ServerError> {
        let mut keys = HashSet::with_capacity(set.items.len());
        for item in &set.items {
            let position = item.pos;
            self.selections += 1;
            if self.selections > MAX_SELECTIONS {
                let text = format!("The document has more than {MAX_SELECTIONS} selections.");
                return Err(error(text, Some(position)));
            }
            // This also stops at a cycle of fragments.
            if level > MAX_NESTING_DEPTH {
                return Err(error("The document is nested too deep.", Some(position)));
            }
            self.check_directives(item.node.directives().len(), position)?;
            match &item.node {
                Selection::Field(field) => {
                    let name = field.node.name.node.as_str();
                    if !self.introspection && matches!(name, "__schema" | "__type") {
                        return Err(error("Introspection is disabled.", Some(position)));
                    }
                    let is_repeated = !keys.insert(field.node.response_key().node.as_str());
                    if is_repeated || field.node.alias.is_some() {
                        self.count_alias(position)?;
                    }
                    self.visit(&field.node.selection_set.node, level + 1)?;
                }
                Selection::InlineFragment(fragment) => {
                    self.visit(&fragment.node.selection_set.node, level + 1)?;
                }
                Selection::FragmentSpread(spread) => {
                    let fragments = &self.document.fragments;
                    if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                        self.visit(&fragment.node.selection_set.node, level + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts an alias or a repeated field. async-graphql executes the field once more for each of them.
    fn count_alias(&mut self, position: Pos) -> Result<(), ServerError> {
        self.aliases += 1;
        if self.aliases <= self.config.max_aliases {
            return Ok(());
        }
        let max = self.config.max_aliases;
        let text = format!("The document has more than {max} aliases and repeated fields.");
        Err(error(text, Some(position)))
    }

    fn check_directives(&self, count: usize, position: Pos) -> Result<(), ServerError> {
        if count <= self.config.max_directives {
            return Ok(());
        }
        let max = self.config.max_directives;
        let text = format!("More than {max} directives at one place.");
        Err(error(text, Some(position)))
    }
}

/// Whether all selected fields are introspection fields.
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

pub(super) fn error(text: impl Into<String>, position: Option<Pos>) -> ServerError {
    ServerError::new(text, position)
}

/// Marks an introspection query in the request's data.
pub(super) struct IntrospectionQuery;

/// Checks depth and complexity in development. The limits are those of production, except for introspection queries,
/// which are deeper than any screen.
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
            Some(_) => INTROSPECTION_LIMITS,
            None => (self.depth, self.complexity),
        };
        if measured.complexity > complexity {
            return Err(vec![error("Query is too complex.", None)]);
        }
        if measured.depth > depth {
            return Err(vec![error("Query is nested too deep.", None)]);
        }
        Ok(measured)
    }
}
