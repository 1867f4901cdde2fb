//! Deserializes the merged tree into a typed value.

use serde::Deserializer;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use toml::Value;
use toml::de::Error;

use super::layers::{Kind, Node, Source, Table};

type Result<T> = std::result::Result<T, Error>;

/// Replaces the `…_FILE` variables of a section by the content of their files. `fields` are the keys of the struct
/// that reads the section. A map has no fields: in it, every such variable names a file.
fn read_files(table: &mut Table, fields: Option<&[&str]>) {
    let has = |key: &str| fields.is_none_or(|fields| fields.contains(&key));
    // The order is alphabetical, so `key` comes before `key_file`.
    for (name, node) in std::mem::take(table) {
        let is_field = fields.is_some() && has(&name);
        let (key, kind) = match (&node.kind, name.strip_suffix("_file")) {
            (Kind::TextOrPath(path), Some(key)) if has(key) && !is_field => {
                match table.get(key).map(|own| &own.source) {
                    Some(Source::Variable(other)) => (key, Kind::duplicate(other)),
                    _ => (key, read_file(path)),
                }
            }
            _ => (&*name, node.kind),
        };
        let source = node.source;
        table.insert(key.to_owned(), Node { kind, source });
    }
}

/// The trimmed text of a file. An error does not contain the path: it is the secret itself if an operator sets the
/// wrong variable.
fn read_file(path: &str) -> Kind {
    match std::fs::read_to_string(path) {
        Err(error) => Kind::Invalid(format!("cannot read the file: {error}")),
        Ok(text) if text.trim().is_empty() => Kind::Invalid("the file is empty".to_owned()),
        Ok(text) => Kind::Text(text.trim().to_owned()),
    }
}

impl Node {
    /// The text of a variable or of its file.
    fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::TextOrPath(text) => Some(text),
            _ => None,
        }
    }

    fn deserialize_section<'de, V: Visitor<'de>>(
        self,
        fields: Option<&[&str]>,
        visitor: V,
    ) -> Result<V::Value> {
        match self.kind {
            Kind::Table(mut table) => {
                read_files(&mut table, fields);
                visitor.visit_map(MapDeserializer::new(table.into_iter()))
            }
            Kind::Toml(value) => value.deserialize_any(visitor),
            Kind::Text(text) | Kind::TextOrPath(text) => visitor.visit_string(text),
            Kind::Invalid(why) => Err(Error::custom(why)),
        }
    }

    fn deserialize_scalar<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.text().and_then(|text| text.trim().parse().ok()) {
            Some(value @ (Value::Boolean(_) | Value::Integer(_) | Value::Float(_))) => {
                value.deserialize_any(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }
}

impl IntoDeserializer<'_, Error> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Numbers and booleans, which a variable spells as text.
macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.deserialize_scalar(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_section(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_section(Some(fields), visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.text() {
            Some("") => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Some(text) = self.text() else {
            return self.deserialize_any(visitor);
        };
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        let node = |item: &str| Self {
            kind: Kind::Text(item.to_owned()),
            source: self.source.clone(),
        };
        visitor.visit_seq(SeqDeserializer::new(items.map(node)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.kind {
            Kind::Text(text) | Kind::Toml(Value::String(text)) => {
                visitor.visit_enum(text.into_deserializer())
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// The struct has no such field. This is an error even without `#[serde(deny_unknown_fields)]`.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(Error::custom("unknown field"))
    }

    scalars! {
        deserialize_bool deserialize_f32 deserialize_f64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct map tuple tuple_struct identifier
    }
}
