//! Serializes a screen: its selected members, then `_meta`.

use serde::ser::{Error as _, Impossible, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::error::Error;

use super::selection::SelectedField;
use super::{FieldSelection, Meta};

/// A serialized screen.
pub(super) struct Document {
    /// The JSON document.
    pub(super) json: Vec<u8>,
    /// A hash of the sections' data without `_meta`, whose states and ages change more often than the data.
    pub(super) digest: u128,
}

/// Serializes `{members…, "_meta": …}`.
pub(super) fn screen(
    value: &impl Serialize,
    meta: &Meta,
    selection: &FieldSelection,
) -> Result<Document, Error> {
    let mut body = Vec::with_capacity(8192);
    body.push(b'{');
    value.serialize(ScreenSerializer {
        selection,
        body: &mut body,
    })?;
    let digest = xxhash_rust::xxh3::xxh3_128(&body);
    if body.len() > 1 {
        body.push(b',');
    }
    body.extend_from_slice(b"\"_meta\":");
    serde_json::to_writer(&mut body, meta)?;
    body.push(b'}');
    Ok(Document { json: body, digest })
}

/// A serializer that accepts only a struct and writes its selected members.
struct ScreenSerializer<'a> {
    selection: &'a FieldSelection,
    body: &'a mut Vec<u8>,
}

impl SerializeStruct for ScreenSerializer<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if !self.selection.contains(key) {
            return Ok(());
        }
        if self.body.len() > 1 {
            self.body.push(b',');
        }
        self.body.push(b'"');
        self.body.extend_from_slice(key.as_bytes());
        self.body.extend_from_slice(b"\":");
        match self.selection.find(key) {
            Some(field) if !field.members.is_empty() => {
                let mut value = serde_json::to_value(value)?;
                retain_selected(&mut value, &field.members);
                serde_json::to_writer(&mut *self.body, &value)
            }
            _ => serde_json::to_writer(&mut *self.body, value),
        }
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Removes all members that are not selected, also in the items of arrays.
fn retain_selected(value: &mut serde_json::Value, fields: &[SelectedField]) {
    match value {
        serde_json::Value::Array(items) => {
            for item in items {
                retain_selected(item, fields);
            }
        }
        serde_json::Value::Object(members) => {
            members.retain(|name, _| fields.iter().any(|field| field.name == *name));
            for field in fields.iter().filter(|field| !field.members.is_empty()) {
                if let Some(member) = members.get_mut(&field.name) {
                    retain_selected(member, &field.members);
                }
            }
        }
        _ => {}
    }
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, Error> {
            Err(Error::custom("a screen must be a struct"))
        })*
    };
}

impl Serializer for ScreenSerializer<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Error> {
        Err(Error::custom("a screen must be a struct"))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::custom("a screen must be a struct"))
    }

    refuse! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shelf {
        book: Book,
        also_read: Vec<Book>,
        friends: Option<u8>,
    }

    #[derive(Serialize, Clone)]
    struct Book {
        title: &'static str,
        pages: u16,
    }

    fn serialize(selection: &FieldSelection) -> serde_json::Value {
        let book = Book {
            title: "T",
            pages: 9,
        };
        let shelf = Shelf {
            also_read: vec![book.clone()],
            book,
            friends: None,
        };
        let document = screen(&shelf, &Meta::new(vec![]), selection).unwrap();
        serde_json::from_slice(&document.json).unwrap()
    }

    #[test]
    fn unselected_sections_are_absent_and_inapplicable_ones_are_null() {
        let all = serialize(&FieldSelection::ALL);
        assert_eq!(all["book"]["pages"], 9);
        assert!(all.as_object().unwrap()["friends"].is_null());
        let mut also = SelectedField::new("alsoRead");
        also.members.push(SelectedField::new("title"));
        let some = serialize(&FieldSelection::only(vec![also]));
        assert_eq!(some["alsoRead"], serde_json::json!([{"title": "T"}]));
        assert!(some.get("book").is_none() && some.get("friends").is_none());
        assert_eq!(some["_meta"]["complete"], true);
    }

    #[test]
    fn a_screen_that_is_not_a_struct_is_an_error() {
        assert!(screen(&1, &Meta::new(vec![]), &FieldSelection::ALL).is_err());
    }
}
