//! Writing a screen: its members once, those not asked for left out, then `_meta`.

use std::io;

use serde::ser::{Error as _, Impossible, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::error::Error;

use super::selection::SelectedField;
use super::{FieldSelection, Meta};

mod fast_strings;

/// A written screen.
pub(super) struct Written {
    /// The JSON document.
    pub(super) body: Vec<u8>,
    /// A digest of the sections' data alone: state and age change while the content does not.
    pub(super) digest: u128,
}

/// Writes `{members…, "_meta": …}`.
pub(super) fn screen(
    value: &impl Serialize,
    meta: &Meta,
    want: &FieldSelection,
) -> Result<Written, Error> {
    let mut body = Vec::with_capacity(8192);
    body.push(b'{');
    value.serialize(ScreenSerializer {
        want,
        body: &mut body,
    })?;
    let digest = xxhash_rust::xxh3::xxh3_128(&body);
    if body.len() > 1 {
        body.push(b',');
    }
    body.extend_from_slice(b"\"_meta\":");
    fast_strings::write(&mut body, meta)?;
    body.push(b'}');
    Ok(Written { body, digest })
}

/// A document as `serde_json` writes it: mostly byte by byte, since quotes, colons and commas come singly, and a byte
/// is pushed for a fraction of what a slice costs.
struct Body<'a>(&'a mut Vec<u8>);

impl io::Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match bytes {
            [byte] => self.0.push(*byte),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A serializer that takes a struct's members one by one, and nothing but a struct.
struct ScreenSerializer<'a> {
    want: &'a FieldSelection,
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
        if !self.want.contains(key) {
            return Ok(());
        }
        if self.body.len() > 1 {
            self.body.push(b',');
        }
        self.body.push(b'"');
        self.body.extend_from_slice(key.as_bytes());
        self.body.extend_from_slice(b"\":");
        match self.want.asked(key) {
            Some(asked) if !asked.members.is_empty() => {
                let mut value = serde_json::to_value(value)?;
                project(&mut value, &asked.members);
                fast_strings::write(self.body, &value)
            }
            _ => fast_strings::write(self.body, value),
        }
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Keeps the members asked for, through lists.
fn project(value: &mut serde_json::Value, asked: &[SelectedField]) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|i| project(i, asked)),
        serde_json::Value::Object(members) => {
            members.retain(|name, _| asked.iter().any(|a| a.name == *name));
            for inner in asked.iter().filter(|a| !a.members.is_empty()) {
                if let Some(member) = members.get_mut(&inner.name) {
                    project(member, &inner.members);
                }
            }
        }
        _ => {}
    }
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, Error> {
            Err(Error::custom("a screen is a struct"))
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
        Err(Error::custom("a screen is a struct"))
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
        Err(Error::custom("a screen is a struct"))
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

    fn written(want: &FieldSelection) -> serde_json::Value {
        let book = Book {
            title: "T",
            pages: 9,
        };
        let shelf = Shelf {
            also_read: vec![book.clone()],
            book,
            friends: None,
        };
        let written = screen(&shelf, &Meta::of(vec![]), want).unwrap();
        serde_json::from_slice(&written.body).unwrap()
    }

    #[test]
    fn what_was_not_asked_for_is_absent_and_what_does_not_apply_is_null() {
        let all = written(&FieldSelection::ALL);
        assert_eq!(all["book"]["pages"], 9);
        assert!(all.as_object().unwrap()["friends"].is_null());
        let mut also = SelectedField::new("alsoRead");
        also.members.push(SelectedField::new("title"));
        let some = written(&FieldSelection::only(vec![also]));
        assert_eq!(some["alsoRead"], serde_json::json!([{"title": "T"}]));
        assert!(some.get("book").is_none() && some.get("friends").is_none());
        assert_eq!(some["_meta"]["complete"], true);
    }

    #[test]
    fn anything_but_a_struct_is_refused() {
        assert!(screen(&1, &Meta::of(vec![]), &FieldSelection::ALL).is_err());
    }
}
