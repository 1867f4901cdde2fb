//! Variables with the prefix that are no setting of this program: another program or the platform reads or makes them.

use serde::Deserializer;
use serde::de::value::Error as FieldsError;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::env_vars::Variable;
use super::inherit::DEFAULTS_TABLE;
use super::layers::Table;
use super::renamed;

/// A distance of more edits than this is no typing mistake.
const MAX_EDITS: usize = 2;

/// One line about an ignored variable. It contains the nearest name, and never the value, which may be a secret.
pub(crate) fn warning<C: DeserializeOwned>(prefix: &str, variable: &Variable<'_>) -> String {
    let known = [root_fields::<C>().unwrap_or_default(), &[DEFAULTS_TABLE]].concat();
    let name = variable.name;
    if known.contains(&&*variable.path) {
        return format!("variable {name} is ignored: write {name}__KEY for a key of this section");
    }
    match nearest(&variable.path, &known) {
        Some(path) => {
            let nearest = path.to_uppercase();
            format!("variable {name} is ignored: did you mean {prefix}_{nearest}?")
        }
        None => format!("variable {name} is ignored: its first name is no section or key"),
    }
}

/// The variables with the prefix.
pub(crate) struct Split<'a> {
    /// The first name is a section or a key of the root, by its present or its old name. A section alone is not one.
    pub(crate) own: Vec<Variable<'a>>,
    /// All others.
    pub(crate) unknown: Vec<Variable<'a>>,
}

/// Separates the variables of this program from others with the same prefix. `tree` has all weaker layers.
pub(crate) fn split<'a, C: DeserializeOwned>(
    variables: Vec<Variable<'a>>,
    tree: &Table,
) -> Split<'a> {
    let fields = root_fields::<C>();
    let is_own = |variable: &Variable<'_>| {
        let (first, has_more) = match variable.path.split_once("__") {
            Some((first, _)) => (first, true),
            None => (&*variable.path, false),
        };
        let secret = first.strip_suffix("_file").filter(|_| !has_more);
        let is_known = fields.is_none_or(|fields| {
            fields.contains(&first) || secret.is_some_and(|key| fields.contains(&key))
        }) || first == DEFAULTS_TABLE
            || tree.contains_key(first)
            || renamed::screen_section(tree, &[first]).is_some();
        is_known && !variable.replaces_section(tree)
    };
    let (own, unknown) = variables.into_iter().partition(is_own);
    Split { own, unknown }
}

/// The path with the nearest of the `known` names in place of its first one: `inboud__x` and `inbound_x` become
/// `inbound__x`.
fn nearest(path: &str, known: &[&str]) -> Option<String> {
    let first = path.split("__").next()?;
    let distance = |name: &&&str| strsim::osa_distance(first, name);
    let similar = known.iter().min_by_key(distance);
    if let Some(name) = similar.filter(|name| distance(name) <= MAX_EDITS.min(name.len() / 3)) {
        return Some(path.replacen(first, name, 1));
    }
    // One underscore in place of two.
    let key = |name: &&str| path.strip_prefix(name)?.strip_prefix('_');
    let section = known.iter().filter(|name| key(name).is_some());
    let section = section.max_by_key(|name| name.len())?;
    Some(format!("{section}__{}", key(section)?))
}

/// The names of the fields of `C`. `None`: it is no struct.
fn root_fields<C: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut fields = None;
    // The result is an error, because there is no value.
    let _ = C::deserialize(FieldNames(&mut fields));
    fields
}

/// A deserializer that has no value and notes the fields that a struct expects.
struct FieldNames<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = FieldsError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FieldsError> {
        Err(FieldsError::custom("no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldsError> {
        *self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
