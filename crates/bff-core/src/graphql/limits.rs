//! Checks the cost of a document before its execution.
//!
//! The checks here run before the document is validated. They count operations, aliases, directives, and selections with
//! all fragments expanded. Without the last limit, fragments that double at every level would occupy the validation for
//! hours. async-graphql limits depth and complexity of the fields that are executed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use apollo_compiler::ast::{
    Definition, DirectiveList, Document, FragmentDefinition, Selection, Value,
};
use apollo_compiler::parser::{SourceMap, SourceSpan};
use apollo_compiler::{Name, Node};
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::{Pos, ServerError, ValidationResult};

use super::position::position;
use crate::graphql_config::Config;

/// Maximum number of selections, with all fragments expanded.
const MAX_SELECTIONS: usize = 2000;
/// Maximum nesting of selections and fragments, the same as in async-graphql.
pub(super) const MAX_NESTING_DEPTH: usize = 32;
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

/// Checks the limits that need no schema.
pub(super) fn check(
    document: &Document,
    config: &Config,
    introspection: bool,
) -> Result<(), ServerError> {
    let operations = (document.definitions.iter())
        .filter_map(Definition::as_operation_definition)
        .collect::<Vec<_>>();
    if operations.len() > config.max_operations {
        let max = config.max_operations;
        let text = format!("The document has more than {max} operations.");
        return Err(error(text, None));
    }
    let fragments = (document.definitions.iter()).filter_map(Definition::as_fragment_definition);
    let mut walk = Walk {
        fragments: fragments.map(|f| (&f.name, &**f)).collect(),
        sources: &document.sources,
        config,
        introspection,
        aliases: 0,
        selections: 0,
    };
    for operation in operations {
        walk.check_directives(&operation.directives, operation.location())?;
        let defaults = operation.variables.iter();
        for value in defaults.filter_map(|variable| variable.default_value.as_ref()) {
            walk.check_members(value)?;
        }
        walk.visit(&operation.selection_set, 0)?;
    }
    Ok(())
}

/// Checks the number of selections of a document.
pub(super) fn check_selections(count: usize) -> Result<(), ServerError> {
    if count <= MAX_SELECTIONS {
        return Ok(());
    }
    let text = format!("The document has more than {MAX_SELECTIONS} selections.");
    Err(error(text, None))
}

/// Visits all selections of a document, counts them and checks the limits.
struct Walk<'a> {
    fragments: HashMap<&'a Name, &'a FragmentDefinition>,
    sources: &'a SourceMap,
    config: &'a Config,
    introspection: bool,
    aliases: usize,
    selections: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, set: &'a [Selection], level: usize) -> Result<(), ServerError> {
        let mut keys = HashSet::with_capacity(set.len());
        for selection in set {
            let location = selection.location();
            self.selections += 1;
            check_selections(self.selections)?;
            // This also stops at a cycle of fragments.
            if level > MAX_NESTING_DEPTH {
                return Err(self.error("The document is nested too deep.", location));
            }
            match selection {
                Selection::Field(field) => {
                    self.check_directives(&field.directives, location)?;
                    for argument in &field.arguments {
                        self.check_members(&argument.value)?;
                    }
                    if !self.introspection && matches!(field.name.as_str(), "__schema" | "__type") {
                        return Err(self.error("Introspection is disabled.", location));
                    }
                    if !keys.insert(field.response_name()) || field.alias.is_some() {
                        self.count_alias(location)?;
                    }
                    self.visit(&field.selection_set, level + 1)?;
                }
                Selection::InlineFragment(fragment) => {
                    self.check_directives(&fragment.directives, location)?;
                    self.visit(&fragment.selection_set, level + 1)?;
                }
                Selection::FragmentSpread(spread) => {
                    self.check_directives(&spread.directives, location)?;
                    if let Some(fragment) = self.fragments.get(&spread.fragment_name) {
                        self.visit(&fragment.selection_set, level + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts an alias or a repeated field. Each alias makes the gateway repeat the same work.
    fn count_alias(&mut self, location: Option<SourceSpan>) -> Result<(), ServerError> {
        self.aliases += 1;
        if self.aliases <= self.config.max_aliases {
            return Ok(());
        }
        let max = self.config.max_aliases;
        let text = format!("The document has more than {max} aliases and repeated fields.");
        Err(self.error(text, location))
    }

    fn check_directives(
        &self,
        directives: &DirectiveList,
        location: Option<SourceSpan>,
    ) -> Result<(), ServerError> {
        if directives.len() <= self.config.max_directives {
            return Ok(());
        }
        let max = self.config.max_directives;
        let text = format!("More than {max} directives at one place.");
        Err(self.error(text, location))
    }

    /// Checks that an input object has no member twice (GraphQL §5.6.3). apollo-compiler does not check this.
    fn check_members(&self, value: &Node<Value>) -> Result<(), ServerError> {
        match &**value {
            Value::List(items) => items.iter().try_for_each(|item| self.check_members(item)),
            Value::Object(members) => {
                let mut names = HashSet::with_capacity(members.len());
                members.iter().try_for_each(|(name, value)| {
                    if !names.insert(name) {
                        let text = format!("There can be only one member `{name}`.");
                        return Err(self.error(text, name.location()));
                    }
                    self.check_members(value)
                })
            }
            _ => Ok(()),
        }
    }

    fn error(&self, text: impl Into<String>, location: Option<SourceSpan>) -> ServerError {
        error(text, Some(position(location, self.sources)))
    }
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
