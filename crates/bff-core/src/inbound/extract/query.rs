//! The query extractor, and the check for endpoints without a query. An unknown parameter is always rejected.

use axum::extract::{FromRequestParts, Request};
use garde::Validate;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{MAX_ERRORS, add_error, collect_errors};
use crate::error::{Error, FieldError, codes};
use crate::section::fields::QueryAlreadyParsed;

/// The query, parsed and validated. The error lists all errors at once. Unknown parameters are rejected if `T` denies
/// them. The parameter `fields` belongs to the screen, which reads it later.
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
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: DeserializeOwned + Validate<Context = ()>>(text: &str) -> Result<T, Error> {
    if percent_decode_str(text).decode_utf8().is_err() {
        return Err(Error::new(
            codes::INVALID_REQUEST,
            "The query is not UTF-8.",
        ));
    }
    let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
    let pairs: Vec<(String, String)> = pairs.collect();
    let errors = duplicates(&pairs);
    let is_repeated = |name: &str| {
        let pointer = FieldError::below("/query", name);
        errors.iter().any(|error| error.pointer == pointer)
    };
    let parsed = pairs
        .into_iter()
        .filter(|(name, _)| name != "fields" && !is_repeated(name));
    let query: Map<String, Value> = parsed.map(|(name, text)| (name, text.into())).collect();
    let input = json!({ "query": query });
    collect_errors::parse_all("/query", (input, text.len()), errors, |input| {
        let members = input["query"].as_object().into_iter().flatten();
        let pairs = members.map(|(name, value)| match value {
            Value::String(text) => (name, text.clone()),
            placeholder => (name, placeholder.to_string()),
        });
        let text = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let reader = form_urlencoded::parse(text.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(reader))
    })
}

/// Rejects every query parameter, unless a [`Query`] extractor has already parsed the query.
pub(super) fn reject_query(request: &Request) -> Result<(), Error> {
    if request.extensions().get::<QueryAlreadyParsed>().is_some() {
        return Ok(());
    }
    let query = request.uri().query().unwrap_or_default();
    let mut errors = Vec::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if errors.len() < MAX_ERRORS {
            let detail = format!("unknown field `{name}`, there are no fields");
            let pointer = FieldError::below("/query", &name);
            add_error(&mut errors, FieldError { pointer, detail });
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid(errors))
    }
}

/// The errors of parameters that are given more than once.
fn duplicates(pairs: &[(String, String)]) -> Vec<FieldError> {
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let repeated = names.chunk_by(|a, b| a == b).filter(|same| same.len() > 1);
    let errors = repeated.take(MAX_ERRORS).map(|same| FieldError {
        pointer: FieldError::below("/query", same[0]),
        detail: "given more than once".into(),
    });
    errors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Input {
        #[garde(length(min = 1))]
        ids: String,
        #[serde(rename = "perPage", default)]
        #[garde(range(max = 100))]
        per_page: u32,
    }

    fn error_pointers(text: &str) -> Vec<String> {
        error_pointers_for::<Input>(text)
    }

    /// The pointers of a query's errors, in the reported order.
    fn error_pointers_for<T: DeserializeOwned + Validate<Context = ()>>(text: &str) -> Vec<String> {
        let error = parse_query::<T>(text).err().unwrap();
        let body = error.problem("", "/", "r");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let errors = body["errors"].as_array().unwrap().iter();
        errors
            .map(|e| e["pointer"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn each_error_of_a_query_has_its_pointer() {
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
            assert_eq!(error_pointers(text), pointers, "{text}");
        }
        let not_utf8 = parse_query::<Input>("ids=%ff").unwrap_err();
        assert_eq!(not_utf8.code(), codes::INVALID_REQUEST);
        let good: Input = parse_query("ids=a&fields=x&perPage=7").unwrap();
        assert_eq!((good.ids.as_str(), good.per_page), ("a", 7));
    }

    #[test]
    fn all_missing_parameters_are_reported() {
        #[derive(Debug, Deserialize, Validate)]
        #[expect(dead_code, reason = "only deserialized")]
        struct ManyFields {
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
            assert_eq!(error_pointers_for::<ManyFields>(text), pointers, "{text}");
        }
    }

    #[test]
    fn the_number_of_errors_is_bounded() {
        let many: Vec<String> = (0..1000).map(|n| format!("x{n}=1")).collect();
        assert_eq!(error_pointers(&many.join("&")).len(), MAX_ERRORS);
        let twice: Vec<String> = (0..1000).map(|n| format!("x{n}=1&x{n}=1")).collect();
        assert!(error_pointers(&twice.join("&")).len() <= MAX_ERRORS + 1);
    }
}
