//! The `fields` query parameter: selects sections of a screen, and members of each section.
//!
//! The value is a comma-separated list of paths, such as `product.name,product.price,reviews`. The valid names come
//! from the screen's schema. An unknown name gets a 422.

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use parking_lot::RwLock;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, ArrayItems, ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, Required};
use utoipa::{IntoParams, ToSchema};

use super::FieldSelection;
use super::selection::SelectedField;
use crate::error::{Error, FieldError};

/// The most paths in one `fields` value.
const MAX_PATHS: usize = 100;
/// The longest part of an unknown name that an error quotes, in characters.
const MAX_QUOTED: usize = 100;
/// The most errors reported for one query.
const MAX_ERRORS: usize = 20;
/// The maximum depth of a path: the number of its names, minus one.
const MAX_DEPTH: usize = 8;

/// The `fields` parameter for the screen `T`. It dereferences to [`FieldSelection`].
#[derive(Clone, Debug)]
pub struct Fields<T> {
    selection: FieldSelection,
    screen: PhantomData<fn() -> T>,
}

impl<T> std::ops::Deref for Fields<T> {
    type Target = FieldSelection;

    fn deref(&self) -> &FieldSelection {
        &self.selection
    }
}

/// A member of a schema, as the tree of its own members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field(BTreeMap<String, Field>);

impl Field {
    /// The members of `T`, read from its schema.
    pub fn of<T: ToSchema>() -> Self {
        let mut named = Vec::new();
        T::schemas(&mut named);
        let named: BTreeMap<String, RefOr<Schema>> = named.into_iter().collect();
        Self::read(&T::schema(), &named, 0)
    }

    fn read(schema: &RefOr<Schema>, named: &BTreeMap<String, RefOr<Schema>>, depth: usize) -> Self {
        if depth > MAX_DEPTH {
            return Self::default();
        }
        let all = |parts: &[RefOr<Schema>]| {
            let parts = parts.iter().map(|p| Self::read(p, named, depth + 1));
            Self(parts.flat_map(|f| f.0).collect())
        };
        match schema {
            RefOr::Ref(reference) => {
                let name = reference
                    .ref_location
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                let found = named.get(name);
                found.map_or_else(Self::default, |s| Self::read(s, named, depth + 1))
            }
            RefOr::T(Schema::Object(object)) => {
                let members = object.properties.iter();
                Self(
                    members
                        .map(|(n, s)| (n.clone(), Self::read(s, named, depth + 1)))
                        .collect(),
                )
            }
            RefOr::T(Schema::Array(array)) => match &array.items {
                ArrayItems::RefOrSchema(items) => Self::read(items, named, depth + 1),
                ArrayItems::False => Self::default(),
            },
            RefOr::T(Schema::OneOf(s)) => all(&s.items),
            RefOr::T(Schema::AllOf(s)) => all(&s.items),
            RefOr::T(Schema::AnyOf(s)) => all(&s.items),
            RefOr::T(_) => Self::default(),
        }
    }

    /// Parses the value of `fields`. The error is a 422 that lists every invalid path, up to 20.
    pub fn parse(&self, text: &str) -> Result<FieldSelection, Error> {
        let error = |detail: String| FieldError {
            pointer: "/query/fields".into(),
            detail,
        };
        if text.is_empty() || text.split(',').count() > MAX_PATHS {
            let detail = format!("expected 1 to {MAX_PATHS} names, separated by commas");
            return Err(Error::invalid(vec![error(detail)]));
        }
        let mut selected = Vec::new();
        let mut errors = Vec::new();
        for path in text.split(',') {
            if let Err(name) = self.add(path, &mut selected) {
                let sections: Vec<&str> = self.0.keys().map(String::as_str).collect();
                let sections = sections.join(", ");
                let name: String = name.chars().take(MAX_QUOTED).collect();
                errors.push(error(format!(
                    "unknown field {name:?}; the sections are {sections}"
                )));
                if errors.len() == MAX_ERRORS {
                    break;
                }
            }
        }
        if errors.is_empty() {
            Ok(FieldSelection::only(selected))
        } else {
            Err(Error::invalid(errors))
        }
    }

    /// A short selection: one member of the first section, and the second section.
    fn example(&self) -> String {
        let paths = self.0.iter().enumerate().take(2).map(|(i, (name, field))| {
            let member = field.0.keys().next().filter(|_| i == 0);
            member.map_or_else(|| name.clone(), |member| format!("{name}.{member}"))
        });
        paths.collect::<Vec<_>>().join(",")
    }

    /// Every path, each section before its members.
    fn paths(&self) -> Vec<String> {
        let members = self.0.iter().flat_map(|(name, field)| {
            let nested = field.paths().into_iter();
            std::iter::once(name.clone()).chain(nested.map(move |path| format!("{name}.{path}")))
        });
        members.collect()
    }

    /// Adds one path. A path to a whole section overrides paths to its members.
    fn add<'p>(&self, path: &'p str, selected: &mut Vec<SelectedField>) -> Result<(), &'p str> {
        let (name, rest) = path
            .split_once('.')
            .map_or((path, None), |(n, r)| (n, Some(r)));
        let field = self.0.get(name).ok_or(path)?;
        let existing = selected.iter().position(|a| a.name == name);
        let whole = existing.is_some_and(|i| selected[i].members.is_empty());
        let i = existing.unwrap_or_else(|| {
            selected.push(SelectedField::new(name));
            selected.len() - 1
        });
        match rest {
            None => selected[i].members.clear(),
            Some(rest) if whole => field.add(rest, &mut Vec::new()).map_err(|_| path)?,
            Some(rest) => field
                .add(rest, &mut selected[i].members)
                .map_err(|_| path)?,
        }
        Ok(())
    }
}

impl<T: ToSchema> IntoParams for Fields<T> {
    fn into_params(_default: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let field = Field::of::<T>();
        let example = field.example();
        let path = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(field.paths()));
        let paths = ArrayBuilder::new()
            .items(path)
            .min_items(Some(1))
            .max_items(Some(MAX_PATHS));
        let fields = ParameterBuilder::new()
            .name("fields")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(format!(
                "Sections and members to return, such as `{example}`. The response then lacks all others."
            )))
            .style(Some(ParameterStyle::Form))
            .explode(Some(false))
            .schema(Some(paths));
        vec![fields.build()]
    }
}

/// The fields of a gateway's screens. Each schema is read once.
#[derive(Clone, Debug, Default)]
pub struct FieldCache(Arc<RwLock<HashMap<TypeId, Arc<Field>>>>);

impl FieldCache {
    fn get<T: ToSchema + 'static>(&self) -> Arc<Field> {
        let id = TypeId::of::<T>();
        if let Some(field) = self.0.read().get(&id) {
            return field.clone();
        }
        let field = Arc::new(Field::of::<T>());
        self.0.write().insert(id, field.clone());
        field
    }
}

impl<T: ToSchema + 'static, S: Sync> FromRequestParts<S> for Fields<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let only_fields = parts.extensions.insert(QueryAlreadyParsed).is_none();
        let selection = match fields_parameter(query, only_fields)? {
            Some(text) => {
                let cache = parts.extensions.get::<FieldCache>().cloned();
                cache.unwrap_or_default().get::<T>().parse(&text)?
            }
            None => FieldSelection::ALL,
        };
        Ok(Self {
            selection,
            screen: PhantomData,
        })
    }
}

/// Request extension: another extractor parses the query's other parameters and rejects unknown ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryAlreadyParsed;

/// The `fields` parameter of a query. With `only_fields`, every other parameter is an error.
fn fields_parameter(query: &str, only_fields: bool) -> Result<Option<String>, Error> {
    let mut found = None;
    let mut errors: Vec<FieldError> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let detail = match (&*name, &found) {
            ("fields", None) => {
                found = Some(value.into_owned());
                continue;
            }
            ("fields", Some(_)) => "given more than once".to_owned(),
            _ if only_fields => format!("unknown field `{name}`, expected `fields`"),
            _ => continue,
        };
        let pointer = FieldError::below("/query", &name);
        if errors.len() < MAX_ERRORS && !errors.iter().any(|e| e.pointer == pointer) {
            errors.push(FieldError { pointer, detail });
        }
    }
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(Error::invalid(errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(ToSchema)]
    #[expect(dead_code, reason = "only the schema is read")]
    struct Shelf {
        book: Book,
        also: Option<Vec<Book>>,
    }

    #[derive(ToSchema)]
    #[expect(dead_code, reason = "only the schema is read")]
    struct Book {
        title: String,
        author: Option<Author>,
    }

    #[derive(ToSchema)]
    #[expect(dead_code, reason = "only the schema is read")]
    struct Author {
        name: String,
    }

    fn parse(text: &str) -> Result<FieldSelection, Error> {
        Field::of::<Shelf>().parse(text)
    }

    #[test]
    fn names_are_those_of_the_schema_at_every_depth() {
        let selection = parse("book.author.name,book.title,also").unwrap();
        assert_eq!(selection.find("book").unwrap().members.len(), 2);
        assert!(selection.contains("also"));
        assert!(!parse("book").unwrap().contains("also"));
        for invalid in [
            "",
            "pages",
            "book.pages",
            "book.author.age",
            "book..title",
            "book,",
        ] {
            let error = parse(invalid).unwrap_err();
            assert_eq!(error.status(), 422, "{invalid}");
        }
    }

    #[test]
    fn the_number_of_reported_errors_is_limited() {
        for text in [
            vec!["x".repeat(1000); MAX_PATHS].join(","),
            "x,".repeat(MAX_PATHS),
        ] {
            let error = parse(&text).unwrap_err();
            let length = error.problem("", "/", "id").len();
            assert!(length < 8192, "{length} bytes");
        }
    }

    #[test]
    fn a_whole_section_overrides_its_members() {
        for text in ["book,book.title", "book.title,book"] {
            assert!(
                parse(text)
                    .unwrap()
                    .find("book")
                    .unwrap()
                    .members
                    .is_empty(),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
