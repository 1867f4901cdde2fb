//! Converts the collected fields to a document for async-graphql, without fragments, directives and variables.

use std::collections::HashMap;

use apollo_compiler::Node;
use apollo_compiler::ast::Value as Literal;
use apollo_compiler::executable::{Operation, OperationType as Ty};
use apollo_compiler::parser::SourceMap;
use apollo_compiler::response::JsonMap;
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, InlineFragment, OperationDefinition,
    OperationType, Selection, SelectionSet, TypeCondition,
};
use async_graphql::{Name, Number, Pos, Positioned, Value};

use super::collect::CollectedField;
use super::position::position;

/// The response key of an additional `__typename` in every selection. It is no GraphQL name, so no client uses it. It
/// distinguishes an object without selected fields from null, which async-graphql does not.
pub(super) const TYPE_KEY: &str = "?";

/// The document that executes `fields`. Its positions are those of the client's document.
pub(super) fn document(
    operation: &Node<Operation>,
    fields: &[CollectedField<'_>],
    values: &ArgumentValues<'_>,
) -> ExecutableDocument {
    let start = position(operation.location(), values.sources);
    let definition = OperationDefinition {
        ty: match operation.operation_type {
            Ty::Query => OperationType::Query,
            Ty::Mutation => OperationType::Mutation,
            Ty::Subscription => OperationType::Subscription,
        },
        variable_definitions: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::new(values.selection_set(fields, start), start),
    };
    ExecutableDocument {
        operations: DocumentOperations::Single(Positioned::new(definition, start)),
        fragments: HashMap::new(),
    }
}

/// The values of the variables, and the source for positions.
pub(super) struct ArgumentValues<'a> {
    pub(super) variables: &'a JsonMap,
    pub(super) sources: &'a SourceMap,
}

impl ArgumentValues<'_> {
    fn selection_set(&self, fields: &[CollectedField<'_>], start: Pos) -> SelectionSet {
        let fields = fields.iter().map(|collected| self.field(collected));
        let items = fields.chain([type_name(start)]);
        SelectionSet {
            items: items.collect(),
        }
    }

    fn field(&self, collected: &CollectedField<'_>) -> Positioned<Selection> {
        let field = collected.field;
        let start = collected.position;
        let arguments = field.arguments.iter().filter_map(|argument| {
            let start = position(argument.location(), self.sources);
            let value = self.value(&argument.value)?.into_value();
            let name = Positioned::new(Name::new(&argument.name), start);
            Some((name, Positioned::new(value, start)))
        });
        let selection_set = match &collected.selections[..] {
            [] => SelectionSet::default(),
            [(object, fields)] if *object == field.ty().inner_named_type() => {
                self.selection_set(fields, start)
            }
            objects => SelectionSet {
                items: (objects.iter())
                    .map(|(object, fields)| {
                        inline_fragment(object, self.selection_set(fields, start), start)
                    })
                    .collect(),
            },
        };
        let alias = field.alias.as_ref();
        let executable = Field {
            alias: alias.map(|alias| Positioned::new(Name::new(alias), start)),
            name: Positioned::new(Name::new(&field.name), start),
            arguments: arguments.collect(),
            directives: Vec::new(),
            selection_set: Positioned::new(selection_set, start),
        };
        Positioned::new(Selection::Field(Positioned::new(executable, start)), start)
    }

    /// The value of a literal; `None` for a variable without a value, as if the argument or member was absent.
    fn value(&self, literal: &Literal) -> Option<Value> {
        Some(match literal {
            Literal::Null => Value::Null,
            Literal::Boolean(value) => Value::Boolean(*value),
            Literal::String(text) => Value::String(text.clone()),
            Literal::Enum(name) => Value::Enum(Name::new(name)),
            Literal::Int(number) => number_value(number.as_str()),
            Literal::Float(number) => number_value(number.as_str()),
            Literal::Variable(name) => {
                let value = self.variables.get(name.as_str())?;
                async_graphql::to_value(value).unwrap_or_default()
            }
            Literal::List(items) => {
                let items = items.iter().map(|item| self.value(item));
                Value::List(items.map(Option::unwrap_or_default).collect())
            }
            Literal::Object(members) => {
                let members = members.iter().filter_map(|(name, value)| {
                    let value = self.value(value)?;
                    Some((Name::new(name), value))
                });
                Value::Object(members.collect::<IndexMap<_, _>>())
            }
        })
    }
}

/// A number as it is written. `-0` is an integer in GraphQL, and a float in JSON.
fn number_value(text: &str) -> Value {
    let integer = text.parse::<i64>().map(Number::from);
    integer
        .or_else(|_| text.parse::<Number>())
        .map_or(Value::Null, Value::Number)
}

fn type_name(start: Pos) -> Positioned<Selection> {
    let field = Field {
        alias: Some(Positioned::new(Name::new(TYPE_KEY), start)),
        name: Positioned::new(Name::new("__typename"), start),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::default(),
    };
    Positioned::new(Selection::Field(Positioned::new(field, start)), start)
}

fn inline_fragment(object: &str, fields: SelectionSet, start: Pos) -> Positioned<Selection> {
    let condition = TypeCondition {
        on: Positioned::new(Name::new(object), start),
    };
    let fragment = InlineFragment {
        type_condition: Some(Positioned::new(condition, start)),
        directives: Vec::new(),
        selection_set: Positioned::new(fields, start),
    };
    Positioned::new(
        Selection::InlineFragment(Positioned::new(fragment, start)),
        start,
    )
}
