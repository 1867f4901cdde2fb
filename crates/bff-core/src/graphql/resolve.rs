//! The functions for resolvers: first [`selection`] and [`validate_args`], then [`resolve_screen`] or [`resolve`].

use std::sync::Arc;

use async_graphql::{Context, PathSegment, SelectionField, ServerError};
use garde::Validate;

use super::response::MissingSection;
use super::section_states::SectionStates;
use crate::context::RequestContext;
use crate::error::Error;
use crate::inbound::extract;
use crate::outbound::{Failure, Freshness, Provenance, Reason};
use crate::section::selection::SelectedField;
use crate::section::{FieldSelection, Screen};

/// The request context and the selected sections of this field. Fragments are expanded, and `@skip` and `@include` are
/// applied. Each section has all its response keys, one per alias.
///
/// # Panics
/// If the schema is executed without this module's routes.
pub fn selection<'a>(ctx: &Context<'a>) -> (&'a RequestContext, FieldSelection) {
    let mut fields = Vec::new();
    collect_fields(ctx.field(), &mut fields);
    (
        ctx.data_unchecked::<RequestContext>(),
        FieldSelection::only(fields),
    )
}

/// Resolves this field to a screen. Its section states go to `extensions.sections`. A missing section, or a failed
/// screen, becomes an error with its response path.
pub fn resolve_screen<T>(
    ctx: &Context<'_>,
    selection: &FieldSelection,
    screen: Result<Screen<T>, Failure>,
) -> Option<T> {
    let screen = resolve(ctx, screen)?;
    let path = path(ctx);
    let states = ctx.data_unchecked::<Arc<SectionStates>>();
    states.add_built(screen.meta());
    for section in screen.meta().sections() {
        for key in selection.response_keys(&section.name) {
            let mut path = path.clone();
            path.push(PathSegment::Field(key.clone()));
            states.push(&path, &section.provenance);
            if section.provenance.state == Freshness::Missing {
                add_error(
                    ctx,
                    path,
                    MissingSection(missing_error(&section.provenance)),
                );
            }
        }
    }
    Some(screen.into_value())
}

/// Resolves this field to a result without sections, such as the outcome of an action. A failure becomes an error with
/// the response path.
pub fn resolve<T, E: Into<Error>>(ctx: &Context<'_>, result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let error: Error = error.into();
            add_error(ctx, path(ctx), error);
            None
        }
    }
}

/// Validates the arguments of a root field. The error lists every invalid argument as `/variables/<name>`.
pub fn validate_args<T: Validate<Context = ()>>(ctx: &Context<'_>, args: T) -> Option<T> {
    resolve(ctx, extract::validated("/variables", args))
}

/// Adds the selected fields of `parent`. Fields with the same name become one entry.
fn collect_fields(parent: SelectionField<'_>, into: &mut Vec<SelectedField>) {
    for field in parent.selection_set() {
        let name = field.name();
        if name.starts_with("__") {
            continue;
        }
        let index = into.iter().position(|f| f.name == name).unwrap_or_else(|| {
            into.push(SelectedField::new(name));
            into.len() - 1
        });
        let selected = &mut into[index];
        let key = field.alias().unwrap_or(name);
        if !selected.response_keys.iter().any(|k| k == key) {
            selected.response_keys.push(key.to_owned());
        }
        collect_fields(field, &mut selected.members);
    }
}

/// The response path of the current field.
fn path(ctx: &Context<'_>) -> Vec<PathSegment> {
    ctx.set_error_path(ServerError::new("", None)).path
}

/// Adds `error` at `path`. Its public text and code are set after execution.
fn add_error<E: Send + Sync + 'static>(ctx: &Context<'_>, path: Vec<PathSegment>, error: E) {
    let mut server_error = ServerError::new("", Some(ctx.item.pos)).with_path(path);
    server_error.source = Some(Arc::new(error));
    ctx.add_error(server_error);
}

fn missing_error(provenance: &Provenance) -> Error {
    if let Some(error) = &provenance.public_error {
        return error.clone();
    }
    let code = provenance.reason.unwrap_or(Reason::Unavailable).code();
    Error::new(code, code.meaning()).with_retry_after(provenance.retry_after)
}
