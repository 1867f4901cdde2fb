//! JSON whose plain strings are copied whole: `serde_json` looks at every byte of a string in turn, and most of a
//! screen is text in which nothing is to be escaped.

use std::io;

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};
use serde_json::error::Error;
use serde_json::ser::Formatter;

use super::Body;

/// Appends `value` to `body`, exactly as `serde_json` writes it; bytes are no part of a screen.
pub(super) fn write(body: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    let mut json = serde_json::Serializer::with_formatter(Body(body), Whole);
    value.serialize(FastStrings(&mut json))
}

/// Writes what [`FastStrings`] hands over as bytes as the string that it is.
struct Whole;

impl Formatter for Whole {
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

/// Whether nothing in `text` is to be escaped (RFC 8259 §7), eight bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    words.iter().all(|word| is_plain_word(*word))
        && match text.last_chunk::<8>() {
            // What is left over is looked at together with bytes before it.
            Some(last) => is_plain_word(*last),
            None => !rest.iter().any(|b| *b < b' ' || matches!(b, b'"' | b'\\')),
        }
}

/// Subtracting from all eight bytes at once borrows from the high bit of those that were less.
fn is_plain_word(word: [u8; 8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_le_bytes(word);
    let less = |word: u64, than: u8| word.wrapping_sub(EACH * u64::from(than)) & !word;
    let is = |byte: u8| less(word ^ (EACH * u64::from(byte)), 1);
    (less(word, b' ') | is(b'"') | is(b'\\')) & (EACH << 7) == 0
}

/// A value, or what writes it, in whose depths plain strings are told from others.
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
        if is_plain(text.as_bytes()) {
            self.0.serialize_bytes(text.as_bytes())
        } else {
            self.0.serialize_str(text)
        }
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a screen has no bytes"))
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

    // A key may be bytes to no formatter.
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

    fn same(value: &(impl Serialize + ?Sized)) {
        let mut written = Vec::new();
        write(&mut written, value).unwrap();
        let expected = serde_json::to_string(value).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn every_character_is_written_as_the_library_writes_it_wherever_it_stands() {
        for c in (0..0x100).filter_map(char::from_u32) {
            for (before, after) in [(0, 0), (0, 7), (3, 4), (7, 0), (8, 0), (0, 8), (12, 9)] {
                same(&format!("{}{c}{}", "x".repeat(before), "x".repeat(after)));
            }
        }
    }

    #[test]
    fn every_shape_is_written_as_the_library_writes_it() {
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
        same(&(Shape::Unit, Shape::Newtype("a\"b"), Shape::Tuple(1, "é")));
        same(&[Shape::Struct {
            a: '"',
            b: Some("\\"),
        }]);
        same(&(Pair("\n", 0.5), One("x"), (), i128::MIN, u128::MAX));
        same(&json!({"a \"key\"": {"1": [null, true, -1, 4.2, "text", "a\tb"]}}));
    }

    #[test]
    fn bytes_are_refused() {
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
        fn any_text_is_written_as_the_library_writes_it(text: String, key: String) {
            same(&text);
            same(&Value::Object([(key, Value::String(text))].into_iter().collect()));
        }
    }
}
