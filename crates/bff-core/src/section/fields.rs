//! `?fields=`: which sections of a screen, and which members of each, a REST client wants.
//!
//! The value is a comma list of paths, `product.name,product.price,reviews`. A name the screen does not
//! have is a 422 that says so, read from the screen's own schema, so that the two cannot disagree.

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use parking_lot::RwLock;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayItems, Object, Schema, Type};
use utoipa::openapi::{RefOr, Required};
use utoipa::{IntoParams, ToSchema};

use super::FieldSelection;
use super::selection::SelectedField;
use crate::context::RequestContext;
use crate::error::{Error, FieldError};

/// The longest `fields` value read.
const MAX_BYTES: usize = 2048;
/// The most mistakes told of one query.
const MAX_TOLD: usize = 20;
/// How deep a path may go.
const MAX_DEPTH: usize = 8;

/// The sections wanted of the screen `T`; dereferences to [`Want`].
#[derive(Clone, Debug)]
pub struct Fields<T> {
    want: FieldSelection,
    screen: PhantomData<fn() -> T>,
}

impl<T> std::ops::Deref for Fields<T> {
    type Target = FieldSelection;

    fn deref(&self) -> &FieldSelection {
        &self.want
    }
}

/// One member of a schema and its own members.
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

    /// What `text` asks for, or everything that is wrong with it.
    pub fn parse(&self, text: &str) -> Result<FieldSelection, Error> {
        let wrong = |detail: String| FieldError {
            pointer: "/query/fields".into(),
            detail,
        };
        if text.is_empty() || text.len() > MAX_BYTES {
            let detail = format!("a comma list of names, at most {MAX_BYTES} bytes");
            return Err(Error::invalid(vec![wrong(detail)]));
        }
        let mut asked = Vec::new();
        let mut errors = Vec::new();
        for path in text.split(',') {
            if let Err(name) = self.add(path, &mut asked) {
                let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                let known = known.join(", ");
                errors.push(wrong(format!(
                    "no field {name:?}; the sections are {known}"
                )));
                if errors.len() == MAX_TOLD {
                    break;
                }
            }
        }
        if errors.is_empty() {
            Ok(FieldSelection::only(asked))
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

    /// Adds one path; a section asked for as a whole wins over its members.
    fn add<'p>(&self, path: &'p str, asked: &mut Vec<SelectedField>) -> Result<(), &'p str> {
        let (name, rest) = path
            .split_once('.')
            .map_or((path, None), |(n, r)| (n, Some(r)));
        let field = self.0.get(name).ok_or(path)?;
        let known = asked.iter().position(|a| a.name == name);
        let whole = known.is_some_and(|i| asked[i].members.is_empty());
        let i = known.unwrap_or_else(|| {
            asked.push(SelectedField::new(name));
            asked.len() - 1
        });
        match rest {
            None => asked[i].members.clear(),
            Some(rest) if whole => field.add(rest, &mut Vec::new()).map_err(|_| path)?,
            Some(rest) => field.add(rest, &mut asked[i].members).map_err(|_| path)?,
        }
        Ok(())
    }
}

impl<T: ToSchema> IntoParams for Fields<T> {
    fn into_params(_default: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let example = Field::of::<T>().example();
        let fields = ParameterBuilder::new()
            .name("fields")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(format!(
                "Sections and members to return, such as `{example}`"
            )))
            .schema(Some(Object::with_type(Type::String)));
        vec![fields.build()]
    }
}

/// The fields of a gateway's screens, each read from its schema once.
#[derive(Clone, Debug, Default)]
pub struct FieldCache(Arc<RwLock<HashMap<TypeId, Arc<Field>>>>);

impl FieldCache {
    /// The fields of `T`.
    fn of<T: ToSchema + 'static>(&self) -> Arc<Field> {
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

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let alone = parts.extensions.insert(QueryAlreadyParsed).is_none();
        let want = match value(query, alone)? {
            Some(text) => {
                let cx = RequestContext::from_request_parts(parts, state).await?;
                cx.shared().fields.of::<T>().parse(&text)?
            }
            None => FieldSelection::ALL,
        };
        Ok(Self {
            want,
            screen: PhantomData,
        })
    }
}

/// Says that a query's other members are read, and refused, by what came before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryAlreadyParsed;

/// The one `fields` parameter of a query; `alone` it is all that a query may have.
fn value(query: &str, alone: bool) -> Result<Option<String>, Error> {
    let mut found = None;
    let mut wrong: Vec<FieldError> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let detail = match (&*name, &found) {
            ("fields", None) => {
                found = Some(value.into_owned());
                continue;
            }
            ("fields", Some(_)) => "given more than once".to_owned(),
            _ if alone => format!("unknown field `{name}`, expected `fields`"),
            _ => continue,
        };
        let pointer = FieldError::below("/query", &name);
        if wrong.len() < MAX_TOLD && !wrong.iter().any(|w| w.pointer == pointer) {
            wrong.push(FieldError { pointer, detail });
        }
    }
    if wrong.is_empty() {
        Ok(found)
    } else {
        Err(Error::invalid(wrong))
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
        let want = parse("book.author.name,book.title,also").unwrap();
        assert_eq!(want.asked("book").unwrap().members.len(), 2);
        assert!(want.contains("also"));
        assert!(!parse("book").unwrap().contains("also"));
        for bad in [
            "",
            "pages",
            "book.pages",
            "book.author.age",
            "book..title",
            "book,",
        ] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error.status(), 422, "{bad}");
        }
    }

    #[test]
    fn of_a_thousand_mistakes_some_are_told() {
        let error = parse(&"x,".repeat(MAX_BYTES / 2)).unwrap_err();
        let told = error.problem("", "/", "id").len();
        assert!(told < 4 * MAX_BYTES, "{told} bytes");
    }

    #[test]
    fn a_whole_section_wins_over_its_members() {
        for text in ["book,book.title", "book.title,book"] {
            assert!(
                parse(text)
                    .unwrap()
                    .asked("book")
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
