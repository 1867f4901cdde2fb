//! From the merged tree to a typed value: every step down the tree adds its key to the fault that comes back.

use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::de::{MapAccess, SeqAccess};
use serde::forward_to_deserialize_any;

use super::error::Fault;
use super::secret;
use super::tree::{Node, Source, Table, Value, is_nearer};
use super::variables::both;

/// Reads the whole tree into a `C`.
pub(super) fn read<C: DeserializeOwned>(tree: Table) -> Result<C, Fault> {
    let root = Node {
        value: Value::Table(tree),
        source: Source::Defaults,
    };
    descend(PhantomData, root)
}

/// Reads one value; a fault inside that knows no place yet happened here.
fn descend<'de, S: DeserializeSeed<'de>>(seed: S, node: Node) -> Result<S::Value, Fault> {
    let (sources, quoted) = (node.sources(), node.quoted());
    seed.deserialize(node)
        .map_err(|fault| fault.at(sources, quoted))
}

/// Reads the files that `…_FILE` variables name. `fields` are those of the struct that will read this table; a map
/// of free keys has none, and there every such variable names a file.
fn read_files(table: &mut Table, fields: Option<&[&str]>) -> Result<(), Fault> {
    let candidates: Vec<String> = table
        .iter()
        .filter(|(_, node)| matches!(node.value, Value::TextOrFile(_)))
        .map(|(key, _)| key.clone())
        .collect();
    for long in candidates {
        let Some(key) = long.strip_suffix("_file") else {
            continue;
        };
        let has = |name: &str| fields.is_none_or(|fields| fields.contains(&name));
        if (fields.is_some() && has(&long)) || !has(key) {
            continue;
        }
        let Some(file) = table.remove(&long) else {
            continue;
        };
        let (Value::TextOrFile(path), Some(variable)) = (&file.value, file.source.variable())
        else {
            continue;
        };
        if let Some(other) = table.get(key) {
            if is_nearer(other, &file) {
                continue;
            }
            let same = !is_nearer(&file, other);
            if let Some(other) = other.source.variable().filter(|_| same) {
                return Err(Fault::whole(both(other, variable)));
            }
        }
        // The path is not quoted: a secret set under the wrong name would be printed.
        let text = std::fs::read_to_string(path).map_err(|error| {
            Fault::line(format!(
                "cannot read the file of variable {variable}: {error}"
            ))
        })?;
        let text = text.trim().to_owned();
        if text.is_empty() {
            return Err(Fault::line(format!(
                "the file of variable {variable} is empty"
            )));
        }
        let source = file.source.file_of(variable);
        table.insert(
            key.to_owned(),
            Node {
                value: Value::Text(text),
                source,
            },
        );
    }
    Ok(())
}

/// A number that a variable may spell as text.
macro_rules! number {
    ($($method:ident $parsed:ty => $visit:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            if let Value::Text(text) | Value::TextOrFile(text) = &self.value
                && let Ok(number) = text.trim().parse::<$parsed>()
            {
                return visitor.$visit(number);
            }
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Int(value) => visitor.visit_i64(value),
            Value::Float(value) => visitor.visit_f64(value),
            Value::Str(text) | Value::Text(text) | Value::TextOrFile(text) => {
                visitor.visit_string(text)
            }
            Value::List(items) => visitor.visit_seq(Items {
                rest: items.into_iter().enumerate(),
            }),
            Value::Table(mut table) => {
                read_files(&mut table, None)?;
                visitor.visit_map(Keys::of(table))
            }
        }
    }

    number! {
        deserialize_i8 i64 => visit_i64,
        deserialize_i16 i64 => visit_i64,
        deserialize_i32 i64 => visit_i64,
        deserialize_i64 i64 => visit_i64,
        deserialize_u8 u64 => visit_u64,
        deserialize_u16 u64 => visit_u64,
        deserialize_u32 u64 => visit_u64,
        deserialize_u64 u64 => visit_u64,
        deserialize_f32 f64 => visit_f64,
        deserialize_f64 f64 => visit_f64,
        deserialize_bool bool => visit_bool,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Text(text) | Value::TextOrFile(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = visitor.visit_newtype_struct(self);
        if name == secret::NAME {
            return result.map_err(Fault::unquoted);
        }
        result
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let source = self.source;
        let items = match self.value {
            Value::List(items) => items,
            Value::Text(text) | Value::TextOrFile(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Node {
                    value: Value::Text(item.to_owned()),
                    source: source.clone(),
                })
                .collect(),
            _ => return Err(Fault::wrong("a list").unquoted()),
        };
        visitor.visit_seq(Items {
            rest: items.into_iter().enumerate(),
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if matches!(self.value, Value::Table(_)) {
            return self.deserialize_any(visitor);
        }
        Err(Fault::wrong("a section").unquoted())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Value::Table(table) = &mut self.value {
            read_files(table, Some(fields))?;
            return visitor.visit_map(Keys::of(std::mem::take(table)));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::Str(text) | Value::Text(text) | Value::TextOrFile(text) => {
                visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(text))
            }
            Value::Table(mut table) => {
                read_files(&mut table, None)?;
                visitor.visit_enum(MapAccessDeserializer::new(Keys::of(table)))
            }
            _ => Err(Fault::wrong("a name")),
        }
    }

    /// Nobody asked for this key: a struct that forgot `deny_unknown_fields` is as strict as the others.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::unknown(&[]))
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct identifier
    }
}

/// A list on its way to a visitor.
struct Items {
    rest: std::iter::Enumerate<std::vec::IntoIter<Node>>,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((index, node)) = self.rest.next() else {
            return Ok(None);
        };
        let item = descend(seed, node).map_err(|fault| fault.under(format!("[{index}]")))?;
        Ok(Some(item))
    }
}

/// A section on its way to a visitor.
struct Keys {
    rest: std::collections::btree_map::IntoIter<String, Node>,
    next: Option<(String, Node)>,
}

impl Keys {
    fn of(table: Table) -> Self {
        Self {
            rest: table.into_iter(),
            next: None,
        }
    }
}

impl<'de> MapAccess<'de> for Keys {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((key, node)) = self.rest.next() else {
            return Ok(None);
        };
        let name: StringDeserializer<Fault> = key.clone().into_deserializer();
        let read = seed
            .deserialize(name)
            .map_err(|fault| fault.at(node.sources(), None).under(key.clone()))?;
        self.next = Some((key, node));
        Ok(Some(read))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((key, node)) = self.next.take() else {
            return Err(Fault::line(
                "a value was asked for before its key".to_owned(),
            ));
        };
        descend(seed, node).map_err(|fault| fault.under(key))
    }
}
