//! The query as a door parses it, and as none does: a member that nobody reads is refused.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Request};
use garde::Validate;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::{MAX_ERRORS, add, invalid, pointer_from_serde, unescaped};
use crate::error::{Error, FieldError, codes};
use crate::section::fields::QueryAlreadyParsed;

/// What stands in for a member that is missing, in turn: a number that is a text and an id as well, and a yes.
const STAND_INS: [&str; 2] = ["0", "true"];

/// The query, parsed and validated, every mistake told at once. Unknown members are refused where `T` denies
/// them; `fields` belongs to the screen and is read by what stands after this.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.insert(QueryAlreadyParsed);
        query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn query<T: DeserializeOwned + Validate<Context = ()>>(text: &str) -> Result<T, Error> {
    if percent_decode_str(text).decode_utf8().is_err() {
        return Err(Error::new(
            codes::INVALID_REQUEST,
            "The query is not UTF-8.",
        ));
    }
    let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
    let mut pairs: Vec<(String, String)> = pairs.collect();
    let mut wrong = doubled(&pairs);
    pairs.retain(|(name, _)| {
        name != "fields"
            && !wrong
                .iter()
                .any(|w| w.pointer == FieldError::below("/query", name))
    });
    // A decoder stops at the first mistake, so what it stopped at is left out, or stood in for where it is missing, and
    // the rest is read again.
    let mut stand_ins = BTreeMap::new();
    let value: Option<T> = loop {
        let text = serde_urlencoded::to_string(&pairs).unwrap_or_default();
        let reader = form_urlencoded::parse(text.as_bytes());
        let reader = serde_urlencoded::Deserializer::new(reader);
        let stopped = match serde_path_to_error::deserialize(reader) {
            Ok(value) => break Some(value),
            Err(error) => pointer_from_serde("/query", &error),
        };
        let left = pairs.len();
        pairs.retain(|(name, _)| FieldError::below("/query", name) != stopped.pointer);
        if pairs.len() == left {
            let Some(name) = stopped.pointer.strip_prefix("/query/") else {
                add(&mut wrong, stopped);
                break None;
            };
            let values = stand_ins.entry(name.to_owned());
            match values.or_insert(STAND_INS.iter()).next() {
                Some(value) => pairs.push((unescaped(name), (*value).to_owned())),
                None => break None,
            }
        }
        add(&mut wrong, stopped);
        if wrong.len() >= MAX_ERRORS {
            break None;
        }
    };
    let invalid = value.as_ref().map(|v| invalid("/query", v));
    for pointer in invalid.into_iter().flatten() {
        add(&mut wrong, pointer);
    }
    match value {
        Some(value) if wrong.is_empty() => Ok(value),
        _ => Err(Error::invalid(wrong)),
    }
}

/// A door that reads a body and no query takes none: a member that nobody reads is unknown there as everywhere.
pub(super) fn no_query(request: &Request) -> Result<(), Error> {
    if request.extensions().get::<QueryAlreadyParsed>().is_some() {
        return Ok(());
    }
    let query = request.uri().query().unwrap_or_default();
    let mut wrong = Vec::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if wrong.len() < MAX_ERRORS {
            let detail = format!("unknown field `{name}`, there are no fields");
            let pointer = FieldError::below("/query", &name);
            add(&mut wrong, FieldError { pointer, detail });
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid(wrong))
    }
}

/// Members that stand there more than once.
fn doubled(pairs: &[(String, String)]) -> Vec<FieldError> {
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let doubled = names.chunk_by(|a, b| a == b).filter(|same| same.len() > 1);
    let doubled = doubled.take(MAX_ERRORS).map(|same| FieldError {
        pointer: FieldError::below("/query", same[0]),
        detail: "given more than once".into(),
    });
    doubled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[garde(length(min = 1))]
        ids: String,
        #[serde(rename = "perPage", default)]
        #[garde(range(max = 100))]
        per_page: u32,
    }

    /// The pointers of what is wrong with a query, in the order told.
    fn wrong(text: &str) -> Vec<String> {
        told::<Wanted>(text)
    }

    fn told<T: DeserializeOwned + Validate<Context = ()>>(text: &str) -> Vec<String> {
        let error = query::<T>(text).err().unwrap();
        let body = error.problem("", "/", "r");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let errors = body["errors"].as_array().unwrap().iter();
        errors
            .map(|e| e["pointer"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_mistake_of_a_query_has_its_own_pointer() {
        for (text, pointers) in [
            ("", &["/query/ids"][..]),
            ("ids=a&perPage=x", &["/query/perPage"]),
            ("ids=a&perPage=101", &["/query/perPage"]),
            ("ids=a&odd=1", &["/query/odd"]),
            ("ids=a&a%2Fb~=1", &["/query/a~1b~0"]),
            ("ids=a&ids=b", &["/query/ids"]),
            (
                "perPage=x&odd=1",
                &["/query/perPage", "/query/odd", "/query/ids"],
            ),
            (
                "ids=&odd=1&even=2",
                &["/query/odd", "/query/even", "/query/ids"],
            ),
            (
                "ids=a&perPage=1&perPage=2&odd=1",
                &["/query/perPage", "/query/odd"],
            ),
        ] {
            assert_eq!(wrong(text), pointers, "{text}");
        }
        let unread = query::<Wanted>("ids=%ff").unwrap_err();
        assert_eq!(unread.code(), codes::INVALID_REQUEST);
        let good: Wanted = query("ids=a&fields=x&perPage=7").unwrap();
        assert_eq!((good.ids.as_str(), good.per_page), ("a", 7));
    }

    #[test]
    fn all_that_is_missing_is_told() {
        #[derive(Debug, Deserialize, Validate)]
        #[expect(dead_code, reason = "it is only read")]
        struct Much {
            #[garde(length(min = 2))]
            name: String,
            #[garde(range(min = 1))]
            count: u8,
            #[garde(skip)]
            gift: bool,
            #[garde(skip)]
            more: Option<u8>,
        }
        for (text, pointers) in [
            ("", &["/query/name", "/query/count", "/query/gift"][..]),
            (
                "count=1&more=x",
                &["/query/more", "/query/name", "/query/gift"],
            ),
            (
                "gift=no&name=a",
                &["/query/gift", "/query/count", "/query/name"],
            ),
        ] {
            assert_eq!(told::<Much>(text), pointers, "{text}");
        }
    }

    #[test]
    fn what_is_told_of_one_query_is_bounded() {
        let many: Vec<String> = (0..1000).map(|n| format!("x{n}=1")).collect();
        assert_eq!(wrong(&many.join("&")).len(), MAX_ERRORS);
        let twice: Vec<String> = (0..1000).map(|n| format!("x{n}=1&x{n}=1")).collect();
        assert!(wrong(&twice.join("&")).len() <= MAX_ERRORS + 1);
    }
}
