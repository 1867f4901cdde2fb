//! Completes the data of async-graphql (GraphQL §6.4.3, `CompleteValue`): members in the order of the document, and null
//! propagation.
//!
//! async-graphql has the members in the order of their completion, drops a failed field, and has null for an object
//! without selected fields.

use std::sync::Arc;

use apollo_compiler::ast::Type;
use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Number, PathSegment, ServerError, Value};

use super::collect::CollectedField;
use super::executable::TYPE_KEY;
use crate::error::{Error, codes};

/// The members of an object.
type Members = IndexMap<Name, Value>;

/// The completed data. Null if a root field that cannot be null is null. Errors of the completion go to `errors`.
pub(super) fn complete_data(
    fields: &[CollectedField<'_>],
    data: Value,
    errors: &mut Vec<ServerError>,
) -> Value {
    let Value::Object(members) = data else {
        return Value::Null;
    };
    let mut completion = Completion {
        errors,
        path: Vec::new(),
    };
    completion.object(fields, members).unwrap_or_default()
}

struct Completion<'a> {
    errors: &'a mut Vec<ServerError>,
    /// The response path of the current value.
    path: Vec<PathSegment>,
}

impl Completion<'_> {
    /// Completes an object; `None` if a member that cannot be null is null.
    fn object(&mut self, fields: &[CollectedField<'_>], mut members: Members) -> Option<Value> {
        let mut completed = Members::with_capacity(fields.len());
        for collected in fields {
            let value = members.swap_remove(collected.key.as_str());
            let name = Name::new(collected.key);
            self.path.push(PathSegment::Field(name.to_string()));
            let value = self.value(collected.field.ty(), collected, value.unwrap_or_default());
            self.path.pop();
            completed.insert(name, value?);
        }
        Some(Value::Object(completed))
    }

    /// Completes a value of the type `ty`; `None` if it is null and cannot be.
    fn value(&mut self, ty: &Type, collected: &CollectedField<'_>, value: Value) -> Option<Value> {
        let completed = match (ty, value) {
            (_, Value::Null) => None,
            (Type::List(item) | Type::NonNullList(item), Value::List(items)) => {
                self.list(item, collected, items)
            }
            (_, Value::Object(members)) if !collected.selections.is_empty() => {
                let object = members.get(TYPE_KEY);
                let fields = (collected.selections.iter())
                    .find(|(name, _)| object == Some(&Value::String(name.to_string())));
                fields.and_then(|(_, fields)| self.object(fields, members))
            }
            (_, Value::Number(number)) if is_int(ty) && !fits_int(&number) => {
                let error = Error::new(codes::BAD_RESPONSE, "The value is not a 32-bit integer.");
                self.add_error(collected, error);
                None
            }
            (_, value) => Some(value),
        };
        if completed.is_some() {
            return completed;
        }
        if !ty.is_non_null() {
            return Some(Value::Null);
        }
        // Every null that propagates has an error. A resolver that fails reports it.
        if !self.errors.iter().any(|e| e.path.starts_with(&self.path)) {
            let error = Error::new(codes::INTERNAL, codes::INTERNAL.meaning());
            self.add_error(collected, error.with_cause("a non-null field is null"));
        }
        None
    }

    fn list(
        &mut self,
        item: &Type,
        collected: &CollectedField<'_>,
        items: Vec<Value>,
    ) -> Option<Value> {
        let mut completed = Vec::with_capacity(items.len());
        for (index, value) in items.into_iter().enumerate() {
            self.path.push(PathSegment::Index(index));
            let value = self.value(item, collected, value);
            self.path.pop();
            completed.push(value?);
        }
        Some(Value::List(completed))
    }

    fn add_error(&mut self, collected: &CollectedField<'_>, error: Error) {
        let path = self.path.clone();
        let mut server_error = ServerError::new("", Some(collected.position)).with_path(path);
        server_error.source = Some(Arc::new(error));
        self.errors.push(server_error);
    }
}

fn is_int(ty: &Type) -> bool {
    ty.inner_named_type() == "Int"
}

/// Whether a number is in the range of the type `Int` (GraphQL §3.5.1).
fn fits_int(number: &Number) -> bool {
    number.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
}
