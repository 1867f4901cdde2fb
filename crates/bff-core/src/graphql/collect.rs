//! Collects the fields of an operation (GraphQL §6.3.2, `CollectFields`).
//!
//! Fragments are expanded, `@skip` and `@include` are applied, and fields with the same response key are merged.
//! async-graphql does not merge: it would execute a repeated field once more, also the field of a mutation.

use apollo_compiler::ast::Value;
use apollo_compiler::collections::{HashSet, IndexMap};
use apollo_compiler::executable::{Field, Selection, SelectionSet};
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::schema::{ExtendedType, ObjectType};
use apollo_compiler::{ExecutableDocument, Name, Node, Schema};
use async_graphql::{PathSegment, Pos, ServerError};

use super::limits;
use super::position::position;

/// A field to execute.
pub(super) struct CollectedField<'a> {
    pub(super) key: &'a Name,
    /// The first field with this key. The others have the same name and arguments.
    pub(super) field: &'a Node<Field>,
    /// The start of that field in the document.
    pub(super) position: Pos,
    /// The selected fields by the type of the object. Empty for a leaf, one entry unless the type is abstract.
    pub(super) selections: Vec<(&'a Name, Vec<CollectedField<'a>>)>,
}

/// The field at a response path.
pub(super) fn field_at<'a>(
    fields: &'a [CollectedField<'a>],
    path: &[PathSegment],
) -> Option<&'a CollectedField<'a>> {
    let (first, rest) = path.split_first()?;
    let PathSegment::Field(key) = first else {
        return field_at(fields, rest);
    };
    let field = fields.iter().find(|field| field.key == key.as_str())?;
    if !rest.iter().any(|s| matches!(s, PathSegment::Field(_))) {
        return Some(field);
    }
    let selections = &field.selections;
    selections
        .iter()
        .find_map(|(_, fields)| field_at(fields, rest))
}

/// Collects the fields of one operation.
pub(super) struct Collector<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
    variables: &'a JsonMap,
    /// The number of fields so far. A selection on an abstract type is collected once for each object type.
    fields: usize,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        schema: &'a Schema,
        document: &'a ExecutableDocument,
        variables: &'a JsonMap,
    ) -> Self {
        Self {
            schema,
            document,
            variables,
            fields: 0,
        }
    }

    /// The fields of `sets` for an object of the type `object`.
    pub(super) fn collect(
        &mut self,
        object: &str,
        sets: impl IntoIterator<Item = &'a SelectionSet>,
    ) -> Result<Vec<CollectedField<'a>>, ServerError> {
        let Some(object) = self.schema.get_object(object) else {
            return Ok(Vec::new());
        };
        let mut groups = IndexMap::default();
        let mut visited = HashSet::default();
        for set in sets {
            self.group_fields(object, set, &mut visited, &mut groups);
        }
        self.fields += groups.len();
        limits::check_selections(self.fields)?;
        let collected = groups.into_iter().map(|(key, fields)| {
            Ok(CollectedField {
                key,
                field: fields[0],
                position: position(fields[0].location(), &self.document.sources),
                selections: self.selections(&fields)?,
            })
        });
        collected.collect()
    }

    /// The merged selections of fields with the same key.
    fn selections(
        &mut self,
        fields: &[&'a Node<Field>],
    ) -> Result<Vec<(&'a Name, Vec<CollectedField<'a>>)>, ServerError> {
        let ty = fields[0].ty().inner_named_type();
        let schema = self.schema;
        let objects = schema.types.values().filter_map(ExtendedType::as_object);
        let objects = match schema.types.get(ty) {
            Some(ExtendedType::Object(object)) => vec![&**object],
            Some(ExtendedType::Interface(_) | ExtendedType::Union(_)) => objects
                .filter(|object| self.type_applies(object, ty))
                .collect(),
            _ => Vec::new(),
        };
        let selections = objects.into_iter().map(|object| {
            let sets = fields.iter().map(|field| &field.selection_set);
            Ok((&object.name, self.collect(&object.name, sets)?))
        });
        selections.collect()
    }

    fn group_fields(
        &self,
        object: &ObjectType,
        set: &'a SelectionSet,
        visited: &mut HashSet<&'a Name>,
        groups: &mut IndexMap<&'a Name, Vec<&'a Node<Field>>>,
    ) {
        for selection in &set.selections {
            if self.condition(selection, "skip") == Some(true)
                || self.condition(selection, "include") == Some(false)
            {
                continue;
            }
            let (condition, set) = match selection {
                Selection::Field(field) => {
                    groups.entry(field.response_key()).or_default().push(field);
                    continue;
                }
                Selection::InlineFragment(inline) => {
                    (inline.type_condition.as_ref(), &inline.selection_set)
                }
                Selection::FragmentSpread(spread) => {
                    match self.document.fragments.get(&spread.fragment_name) {
                        Some(fragment) if visited.insert(&spread.fragment_name) => {
                            (Some(fragment.type_condition()), &fragment.selection_set)
                        }
                        _ => continue,
                    }
                }
            };
            if condition.is_none_or(|ty| self.type_applies(object, ty)) {
                self.group_fields(object, set, visited, groups);
            }
        }
    }

    /// The argument `if` of a directive; `None` without the directive. A variable without a value counts as false.
    fn condition(&self, selection: &Selection, directive: &str) -> Option<bool> {
        let directive = selection.directives().get(directive)?;
        match directive.specified_argument_by_name("if")?.as_ref() {
            Value::Boolean(value) => Some(*value),
            Value::Variable(name) => {
                let value = self.variables.get(name.as_str());
                Some(value.and_then(JsonValue::as_bool).unwrap_or_default())
            }
            _ => None,
        }
    }

    /// Whether an object has the type `ty` (GraphQL §6.3.2, `DoesFragmentTypeApply`).
    fn type_applies(&self, object: &ObjectType, ty: &Name) -> bool {
        match self.schema.types.get(ty) {
            Some(ExtendedType::Object(other)) => other.name == object.name,
            Some(ExtendedType::Interface(_)) => object.implements_interfaces.contains(ty),
            Some(ExtendedType::Union(union)) => union.members.contains(&object.name),
            _ => false,
        }
    }
}
