//! Finds the screens of a `schema.graphql`: its query root fields, with every field selected.

use std::collections::BTreeMap;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, Type, TypeKind, TypeSystemDefinition,
};
use http::HeaderMap;
use serde_json::Value;

use super::{ScreenOperation, ScreenResponse, example};

/// The fields of each object type.
type Objects = BTreeMap<String, Vec<FieldDefinition>>;

/// Returns the fields of the query root. An argument takes the example of the gateway's REST parameter of the same
/// name; the error names an argument without an example.
pub(super) fn screens(
    gateway: &'static str,
    sdl: &str,
    contract: &Value,
) -> Result<Vec<ScreenOperation>, String> {
    let mut objects = Objects::new();
    let mut root = String::new();
    for definition in parse_schema(sdl).unwrap().definitions {
        match definition {
            TypeSystemDefinition::Schema(schema) => {
                root = schema.node.query.unwrap().node.to_string();
            }
            TypeSystemDefinition::Type(ty) => {
                if let TypeKind::Object(object) = ty.node.kind {
                    let fields = object.fields.into_iter().map(|f| f.node).collect();
                    objects.insert(ty.node.name.node.to_string(), fields);
                }
            }
            TypeSystemDefinition::Directive(_) => {}
        }
    }
    let field = |field: &FieldDefinition| {
        let name = field.name.node.to_string();
        let arguments =
            arguments(field, contract).map_err(|why| format!("{gateway}: {name}: {why}"))?;
        let sections = &objects[type_name(&field.ty.node)];
        let required = sections.iter().filter(|s| !s.ty.node.nullable);
        Ok(ScreenOperation {
            gateway,
            path: "/graphql".to_owned(),
            document: Some(format!(
                "{{ {name}{arguments}{} }}",
                selection(&objects, field, 0)
            )),
            required: required.map(|s| s.name.node.to_string()).collect(),
            operation: name,
        })
    };
    objects[&root].iter().map(field).collect()
}

fn arguments(field: &FieldDefinition, contract: &Value) -> Result<String, String> {
    let operations = contract["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|path| path.as_object().unwrap().values());
    let parameters: Vec<&Value> = operations
        .filter_map(|operation| operation["parameters"].as_array())
        .flatten()
        .collect();
    let mut values = Vec::new();
    for argument in &field.arguments {
        let argument = &argument.node;
        if argument.ty.node.nullable || argument.default_value.is_some() {
            continue;
        }
        let name = &argument.name.node;
        let mut same_name = parameters.iter().filter(|p| p["name"] == name.as_str());
        let value = same_name.find_map(|p| example(p));
        let value = value.ok_or_else(|| format!("no REST parameter `{name}` has an example"))?;
        values.push(format!("{name}: {value}"));
    }
    Ok(if values.is_empty() {
        String::new()
    } else {
        format!("({})", values.join(", "))
    })
}

/// Selects every field below a field, down to the depth limit.
fn selection(objects: &Objects, field: &FieldDefinition, depth: usize) -> String {
    let Some(fields) = objects.get(type_name(&field.ty.node)) else {
        return String::new();
    };
    let selected = fields
        .iter()
        .filter(|f| depth < 5 || !objects.contains_key(type_name(&f.ty.node)));
    let selected =
        selected.map(|f| format!(" {}{}", f.name.node, selection(objects, f, depth + 1)));
    format!(" {{{} }}", selected.collect::<String>())
}

fn type_name(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => type_name(inner),
    }
}

/// Parses the response to a document with one root field.
pub(super) fn parse_response(
    root: &str,
    status: u16,
    headers: HeaderMap,
    body: Value,
) -> ScreenResponse {
    let data = body["data"][root].clone();
    // A rejected request gets a problem document over GraphQL too.
    let code = match status {
        200 => &body["errors"][0]["extensions"]["code"],
        _ => &body["code"],
    };
    let code = data.is_null().then(|| code.as_str().unwrap().to_owned());
    let prefix = format!("{root}.");
    let sections = body["extensions"]["sections"]
        .as_object()
        .into_iter()
        .flatten();
    let sections = sections.filter_map(|(path, entry)| {
        let name = path.strip_prefix(&prefix)?;
        Some((name.to_owned(), entry.clone()))
    });
    ScreenResponse {
        status,
        headers,
        code,
        data,
        sections: sections.collect(),
        body,
    }
}
