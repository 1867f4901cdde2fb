//! The schema of a sparse screen: the response to a request with `fields`, which lacks all members that are not selected.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{ArrayItems, Schema};
use utoipa::openapi::{Ref, RefOr};

/// The schemas of a screen, by name.
type Named = BTreeMap<String, RefOr<Schema>>;

/// The name of the sparse form of the schema `name`.
pub(super) fn sparse_name(name: &str) -> String {
    format!("Sparse{name}")
}

/// The sparse form of every schema that has members.
pub(super) fn sparse_schemas(named: &Named) -> impl Iterator<Item = (String, RefOr<Schema>)> {
    let with_members = named.iter().filter(|(_, schema)| has_members(schema));
    with_members.map(|(name, schema)| (sparse_name(name), sparse(schema.clone(), named)))
}

/// Whether a schema can have members. A composed one, such as a flattened struct, counts as such.
fn has_members(schema: &RefOr<Schema>) -> bool {
    match schema {
        RefOr::T(Schema::Object(object)) => !object.properties.is_empty(),
        RefOr::T(Schema::OneOf(_) | Schema::AllOf(_) | Schema::AnyOf(_)) => true,
        _ => false,
    }
}

/// The schema without its `required`, at any depth.
fn sparse(mut schema: RefOr<Schema>, named: &Named) -> RefOr<Schema> {
    let each = |schemas: &mut Vec<RefOr<Schema>>| {
        for item in schemas {
            *item = sparse(item.clone(), named);
        }
    };
    match &mut schema {
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next();
            let name = name.unwrap_or_default().to_owned();
            if named.get(&name).is_some_and(has_members) {
                reference.ref_location = Ref::from_schema_name(sparse_name(&name)).ref_location;
            }
        }
        RefOr::T(Schema::Object(object)) => {
            object.required.clear();
            for member in object.properties.values_mut() {
                *member = sparse(member.clone(), named);
            }
        }
        RefOr::T(Schema::Array(array)) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                **items = sparse((**items).clone(), named);
            }
        }
        RefOr::T(Schema::OneOf(of)) => each(&mut of.items),
        RefOr::T(Schema::AllOf(of)) => each(&mut of.items),
        RefOr::T(Schema::AnyOf(of)) => each(&mut of.items),
        RefOr::T(_) => {}
    }
    schema
}
