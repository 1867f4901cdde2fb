//! What a resolver calls: first [`enter`] and [`arguments`], last [`answer`] (a screen) or [`outcome`] (anything else).

use std::sync::Arc;

use async_graphql::{Context, PathSegment, SelectionField, ServerError};
use garde::Validate;

use super::response::Missing;
use super::section_states::SectionStates;
use crate::context::RequestContext;
use crate::error::Error;
use crate::inbound::extract;
use crate::outbound::{Failure, Freshness, Provenance, Reason};
use crate::section::selection::SelectedField;
use crate::section::{FieldSelection, Screen};

/// The request, and what the document selects of this field: through fragments, without what `@skip` and
/// `@include` take out, with every response key that aliases give a section.
///
/// # Panics
/// When the schema is executed past this module's routes.
pub fn selection<'a>(ctx: &Context<'a>) -> (&'a RequestContext, FieldSelection) {
    let mut asked = Vec::new();
    collect_fields(ctx.field(), &mut asked);
    (
        ctx.data_unchecked::<RequestContext>(),
        FieldSelection::only(asked),
    )
}

/// A screen as this field's value. Its sections' states go to `extensions.sections`; a section that is missing, or
/// the screen that failed, becomes an error with the path of response keys.
pub fn resolve_screen<T>(
    ctx: &Context<'_>,
    want: &FieldSelection,
    screen: Result<Screen<T>, Failure>,
) -> Option<T> {
    let screen = resolve(ctx, screen)?;
    let path = path(ctx);
    let told = ctx.data_unchecked::<Arc<SectionStates>>();
    for entry in screen.meta().entries() {
        for key in want.keys(&entry.name) {
            let mut path = path.clone();
            path.push(PathSegment::Field(key.clone()));
            told.push(&path, &entry.from);
            if entry.from.state == Freshness::Missing {
                tell(ctx, path, Missing(missing(&entry.from)));
            }
        }
    }
    Some(screen.into_value())
}

/// A result without sections as this field's value: an action's outcome, an argument that was read, a caller
/// that is required. Its failure becomes an error with the path of response keys.
pub fn resolve<T, E: Into<Error>>(ctx: &Context<'_>, result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let error: Error = error.into();
            tell(ctx, path(ctx), error);
            None
        }
    }
}

/// A root field's arguments, if they keep the rules of their type; else each mistake is told, at `/variables/<name>`.
pub fn validate_args<T: Validate<Context = ()>>(ctx: &Context<'_>, given: T) -> Option<T> {
    resolve(ctx, extract::validated("/variables", given))
}

/// Adds the fields selected of `of`, those of one name together.
fn collect_fields(of: SelectionField<'_>, into: &mut Vec<SelectedField>) {
    for field in of.selection_set() {
        let name = field.name();
        if name.starts_with("__") {
            continue;
        }
        let at = into.iter().position(|a| a.name == name).unwrap_or_else(|| {
            into.push(SelectedField::new(name));
            into.len() - 1
        });
        let key = field.alias().unwrap_or(name);
        if !into[at].keys.iter().any(|k| k == key) {
            into[at].keys.push(key.to_owned());
        }
        collect_fields(field, &mut into[at].members);
    }
}

/// Where the current field is in the answer.
fn path(ctx: &Context<'_>) -> Vec<PathSegment> {
    ctx.set_error_path(ServerError::new("", None)).path
}

/// Reports `error` at `path`; its text and code are set once, after execution.
fn tell<E: Send + Sync + 'static>(ctx: &Context<'_>, path: Vec<PathSegment>, error: E) {
    let mut told = ServerError::new("", Some(ctx.item.pos)).with_path(path);
    told.source = Some(Arc::new(error));
    ctx.add_error(told);
}

fn missing(from: &Provenance) -> Error {
    if let Some(told) = &from.public_error {
        return told.clone();
    }
    let code = from.reason.unwrap_or(Reason::Unavailable).code();
    Error::new(code, code.meaning()).with_retry_after(from.retry_after)
}
