//! A JSON serializer that copies strings without escapes as a whole. `serde_json` checks each byte in turn, and most of
//! a screen is text that needs no escape.

use std::io;

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};
use serde_json::error::Error;
use serde_json::ser::Formatter;

use super::Body;

/// Appends `value` to `body`, exactly as `serde_json` writes it. Byte slices are an error.
pub(super) fn write(body: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    let mut json = serde_json::Serializer::with_formatter(Body(body), StringFormatter);
    value.serialize(FastStrings(&mut json))
}

/// Writes the bytes that [`FastStrings`] passes on as a string without escapes.
struct StringFormatter;

impl Formatter for StringFormatter {
    fn write_byte_array<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        text: &[u8],
    ) -> io::Result<()> {
        writer.write_all(b"\"")?;
        writer.write_all(text)?;
        writer.write_all(b"\"")
    }
}

/// Whether `text` needs no escape (RFC 8259 §7). It checks eight bytes at a time.
fn needs_no_escape(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    words.iter().all(|word| word_needs_no_escape(*word))
        && match text.last_chunk::<8>() {
            // The last chunk covers the rest; it overlaps the words before it.
            Some(last) => word_needs_no_escape(*last),
            None => !rest.iter().any(|b| *b < b' ' || matches!(b, b'"' | b'\\')),
        }
}

/// Subtracts a byte from all eight bytes at once. The subtraction sets the high bit of each smaller byte.
fn word_needs_no_escape(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_le_bytes(word);
    let less = |word: u64, than: u8| word.wrapping_sub(ONES * u64::from(than)) & !word;
    let equal = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    (less(word, b' ') | equal(b'"') | equal(b'\\')) & (ONES << 7) == 0
}

/// Wraps a value or a serializer, and all nested ones, to handle strings without escapes.
struct FastStrings<T>(T);

impl<T: Serialize + ?Sized> Serialize for FastStrings<&T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(FastStrings(s))
    }
}

macro_rules! forward {
    ($($method:ident($($arg:ident: $type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $($arg: $type),*) -> Result<$ok, S::Error> {
            self.0.$method($($arg),*)
        })*
    };
}

macro_rules! deepen {
    ($($method:ident($($arg:ident: $type:ty),*) -> $compound:ident;)*) => {
        $(fn $method(self, $($arg: $type),*) -> Result<FastStrings<S::$compound>, S::Error> {
            self.0.$method($($arg),*).map(FastStrings)
        })*
    };
}

impl<S: Serializer> Serializer for FastStrings<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = FastStrings<S::SerializeSeq>;
    type SerializeTuple = FastStrings<S::SerializeTuple>;
    type SerializeTupleStruct = FastStrings<S::SerializeTupleStruct>;
    type SerializeTupleVariant = FastStrings<S::SerializeTupleVariant>;
    type SerializeMap = FastStrings<S::SerializeMap>;
    type SerializeStruct = FastStrings<S::SerializeStruct>;
    type SerializeStructVariant = FastStrings<S::SerializeStructVariant>;

    fn serialize_str(self, text: &str) -> Result<S::Ok, S::Error> {
        if needs_no_escape(text.as_bytes()) {
            self.0.serialize_bytes(text.as_bytes())
        } else {
            self.0.serialize_str(text)
        }
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "a screen must not contain byte slices",
        ))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&FastStrings(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &FastStrings(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = FastStrings(value);
        self.0
            .serialize_newtype_variant(name, index, variant, &value)
    }

    forward! {
        serialize_bool(v: bool) -> S::Ok;
        serialize_i8(v: i8) -> S::Ok;
        serialize_i16(v: i16) -> S::Ok;
        serialize_i32(v: i32) -> S::Ok;
        serialize_i64(v: i64) -> S::Ok;
        serialize_i128(v: i128) -> S::Ok;
        serialize_u8(v: u8) -> S::Ok;
        serialize_u16(v: u16) -> S::Ok;
        serialize_u32(v: u32) -> S::Ok;
        serialize_u64(v: u64) -> S::Ok;
        serialize_u128(v: u128) -> S::Ok;
        serialize_f32(v: f32) -> S::Ok;
        serialize_f64(v: f64) -> S::Ok;
        serialize_char(v: char) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_unit_struct(name: &'static str) -> S::Ok;
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> S::Ok;
    }

    deepen! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant;
    }
}

macro_rules! members {
    ($($compound:ident: $method:ident($($key:ident: $type:ty)?);)*) => {
        $(impl<C: $compound> $compound for FastStrings<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: $type,)?
                value: &T,
            ) -> Result<(), C::Error> {
                self.0.$method($($key,)? &FastStrings(value))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.0.end()
            }
        })*
    };
}

members! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(key: &'static str);
    SerializeStructVariant: serialize_field(key: &'static str);
}

impl<C: SerializeMap> SerializeMap for FastStrings<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    // Not wrapped: `serde_json` rejects bytes as a key.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_value(&FastStrings(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn assert_same_as_serde_json(value: &(impl Serialize + ?Sized)) {
        let mut json = Vec::new();
        write(&mut json, value).unwrap();
        let expected = serde_json::to_string(value).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    #[test]
    fn every_character_at_every_position_is_written_like_serde_json() {
        for c in (0..0x100).filter_map(char::from_u32) {
            for (before, after) in [(0, 0), (0, 7), (3, 4), (7, 0), (8, 0), (0, 8), (12, 9)] {
                assert_same_as_serde_json(&format!(
                    "{}{c}{}",
                    "x".repeat(before),
                    "x".repeat(after)
                ));
            }
        }
    }

    #[test]
    fn every_type_is_written_like_serde_json() {
        #[derive(Serialize)]
        enum Shape {
            Unit,
            Newtype(&'static str),
            Tuple(u8, &'static str),
            Struct { a: char, b: Option<&'static str> },
        }
        #[derive(Serialize)]
        struct Pair(&'static str, f32);
        #[derive(Serialize)]
        struct One(&'static str);
        assert_same_as_serde_json(&(Shape::Unit, Shape::Newtype("a\"b"), Shape::Tuple(1, "é")));
        assert_same_as_serde_json(&[Shape::Struct {
            a: '"',
            b: Some("\\"),
        }]);
        assert_same_as_serde_json(&(Pair("\n", 0.5), One("x"), (), i128::MIN, u128::MAX));
        assert_same_as_serde_json(
            &json!({"a \"key\"": {"1": [null, true, -1, 4.2, "text", "a\tb"]}}),
        );
    }

    #[test]
    fn bytes_are_an_error() {
        struct Raw;
        impl Serialize for Raw {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_bytes(b"\"")
            }
        }
        assert!(write(&mut Vec::new(), &[Raw]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_written_like_serde_json(text: String, key: String) {
            assert_same_as_serde_json(&text);
            assert_same_as_serde_json(&Value::Object([(key, Value::String(text))].into_iter().collect()));
        }
    }
}
