//! Collects all errors of a body or a query, although serde stops at the first one.
//!
//! The crate `eserde` cannot hold this promise: it stops at the first unknown or duplicate field, and reports no broken
//! validation rule beside another error. It also names a missing field as in Rust, not as in JSON.

use std::collections::BTreeMap;

use garde::Validate;
use serde_json::{Map, Value};

use super::{MAX_ERRORS, add_error, broken_rules, pointer_from_serde, unescape};
use crate::error::{Error, FieldError};

/// The largest number of parses of one input. One error may need several placeholders.
const MAX_PARSES: usize = 80;
/// The largest number of bytes parsed for one input, so that a large body is parsed less often. One parse of 64 KiB
/// takes half a millisecond.
const MAX_PARSED_BYTES: usize = 1 << 20;

/// Parses an input of this many bytes with `parse`, which reports errors relative to the JSON pointer `root`.
///
/// The error lists `errors`, all parse errors, and broken validation rules of the parts that can be parsed. After each
/// parse error, the value is removed or replaced by a placeholder, until the parse proceeds. If no placeholder works,
/// the enclosing value is replaced.
pub(super) fn parse_all<T, E>(
    root: &str,
    (mut input, bytes): (Value, usize),
    mut errors: Vec<FieldError>,
    parse: impl Fn(&Value) -> Result<T, serde_path_to_error::Error<E>>,
) -> Result<T, Error>
where
    T: Validate<Context = ()>,
    E: ToString,
{
    let mut repaired = Repaired::default();
    let max_parses = MAX_PARSES.min(MAX_PARSED_BYTES / bytes.max(1));
    for _ in 0..max_parses.max(usize::from(errors.is_empty())) {
        let error = match parse(&input) {
            Ok(value) => {
                for broken in broken_rules(root, &value) {
                    repaired.add_error(&mut errors, broken);
                }
                if errors.is_empty() {
                    return Ok(value);
                }
                break;
            }
            Err(error) => pointer_from_serde(root, &error),
        };
        repaired.add_error(&mut errors, error.clone());
        if errors.len() >= MAX_ERRORS || !repaired.repair(&mut input, &error) {
            break;
        }
    }
    Err(Error::invalid(errors))
}

/// The pointers at which the input was changed, and the number of attempts at each.
#[derive(Default)]
struct Repaired(BTreeMap<String, usize>);

impl Repaired {
    /// Removes the value of an error, or replaces it by the next placeholder. Returns false if nothing is left to try.
    fn repair(&mut self, input: &mut Value, error: &FieldError) -> bool {
        let mut at = error.pointer.as_str();
        while let Some((parent, name)) = at.rsplit_once('/') {
            let name = unescape(name);
            let attempts = self.0.entry(at.to_owned()).or_default();
            *attempts += 1;
            let Some(container) = input.pointer_mut(parent) else {
                at = parent;
                continue;
            };
            if let (1, Value::Object(members)) = (*attempts, &mut *container) {
                if members.remove(&name).is_some() {
                    return true;
                }
                *attempts += 1;
            }
            match (
                container,
                first_variant(&error.detail).or_else(|| placeholder(*attempts)),
            ) {
                (Value::Object(members), Some(value)) => {
                    members.insert(name, value);
                    return true;
                }
                (Value::Array(items), Some(value)) => {
                    if let Some(item) = name.parse().ok().and_then(|n: usize| items.get_mut(n)) {
                        *item = value;
                        return true;
                    }
                }
                _ => {}
            }
            at = parent;
        }
        false
    }

    /// Adds an error, unless it is within a changed value: then it is an error of the placeholder.
    fn add_error(&self, errors: &mut Vec<FieldError>, error: FieldError) {
        let mut at = error.pointer.as_str();
        while !self.0.contains_key(at) {
            match at.rsplit_once('/') {
                Some((parent, _)) => at = parent,
                None => return add_error(errors, error),
            }
        }
    }
}

/// The placeholder of an attempt: a value of each JSON type, and texts of digits that parse as codes and numbers. The
/// first attempt may have removed the value, so attempts 1 and 2 are equal.
fn placeholder(attempt: usize) -> Option<Value> {
    Some(match attempt {
        1 | 2 => Value::from("x"),
        3 => Value::from(0),
        4 => Value::from(false),
        5 => Value::Array(Vec::new()),
        6 => Value::Object(Map::new()),
        7 => Value::from("000"),
        8 => Value::from("0000000000000000"),
        _ => return None,
    })
}

/// The first variant of an enum, as serde's message lists them.
fn first_variant(detail: &str) -> Option<Value> {
    let (_, variants) = detail
        .strip_prefix("unknown variant ")?
        .split_once(", expected ")?;
    variants.split('`').nth(1).map(Value::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;
    use crate::inbound::extract::body;

    crate::id! {
        /// A test id.
        ThingId
    }

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[garde(dive)]
        lines: Vec<Line>,
        #[garde(dive)]
        card: Card,
        #[garde(skip)]
        #[expect(dead_code, reason = "only deserialized")]
        how: How,
        #[serde(default)]
        #[garde(skip)]
        #[expect(dead_code, reason = "only deserialized")]
        pin: Option<Pin>,
        #[serde(default)]
        #[garde(inner(length(max = 3)))]
        tags: Vec<String>,
        #[serde(default)]
        #[garde(range(max = 9))]
        page: u32,
    }

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only deserialized")]
    struct Line {
        #[garde(skip)]
        id: ThingId,
        #[garde(skip)]
        count: u8,
        #[serde(default)]
        #[garde(skip)]
        gift: bool,
    }

    #[derive(Debug, Deserialize, Validate)]
    struct Card {
        #[garde(length(min = 4))]
        number: String,
        #[garde(range(min = 1))]
        month: u8,
        #[garde(skip)]
        #[expect(dead_code, reason = "only deserialized")]
        known: bool,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Pin;

    impl TryFrom<String> for Pin {
        type Error = &'static str;

        fn try_from(text: String) -> Result<Self, &'static str> {
            let good = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            good.then_some(Self).ok_or("three digits")
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum How {
        Post,
    }

    fn error_pointers(text: &str) -> BTreeSet<String> {
        let error = body::parse::<Order>(text.as_bytes()).unwrap_err();
        let problem: Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
        let errors = problem["errors"].as_array().unwrap();
        let pointer = |error: &Value| error["pointer"].as_str().unwrap().to_owned();
        let pointers: BTreeSet<String> = errors.iter().map(pointer).collect();
        assert_eq!(pointers.len(), errors.len(), "reported twice: {text}");
        pointers
    }

    #[test]
    fn all_errors_are_reported_and_none_of_a_placeholder() {
        const CARD: &str = r#""card":{"number":"4111","month":1,"known":true}"#;
        for (text, pointers) in [
            // Missing fields of one object and of several.
            ("{}", &["/lines", "/card", "/how"][..]),
            (
                r#"{"lines":[{}],"how":"post","card":{}}"#,
                &[
                    "/lines/0/id",
                    "/lines/0/count",
                    "/card/number",
                    "/card/month",
                    "/card/known",
                ],
            ),
            // Errors within the items of a list, and items of a wrong type.
            (
                &format!(
                    r#"{{"lines":[{{"id":1,"count":1}},7,{{"id":"a","count":-1,"gift":2,"odd":3}}],"how":"post","tags":[1,"far",2,"long"],{CARD}}}"#
                ),
                &[
                    "/lines/0/id",
                    "/lines/1",
                    "/lines/2/count",
                    "/lines/2/gift",
                    "/lines/2/odd",
                    "/tags/0",
                    "/tags/2",
                    "/tags/3",
                ],
            ),
            // Broken validation rules are reported together with parse errors.
            (
                r#"{"lines":{},"how":"post","card":{"number":"41","month":0,"known":0},"page":10,"o/d":1}"#,
                &[
                    "/lines",
                    "/card/number",
                    "/card/month",
                    "/card/known",
                    "/page",
                    "/o~1d",
                ],
            ),
            (
                r#"{"lines":[],"how":"post","card":[],"tags":["long"]}"#,
                &["/card", "/tags/0"],
            ),
            // Missing fields are reported after errors in newtypes and enums.
            (
                r#"{"lines":[{"id":"a b","count":"1"}],"pin":"1","how":"post"}"#,
                &["/lines/0/id", "/lines/0/count", "/pin", "/card"],
            ),
            (
                &format!(r#"{{"lines":7,"how":"fax","page":-1,{CARD}}}"#),
                &["/lines", "/how", "/page"],
            ),
            ("7", &[""]),
        ] {
            let pointers = pointers.iter().map(|&at| at.to_owned()).collect();
            assert_eq!(error_pointers(text), pointers, "{text}");
        }
    }

    #[test]
    fn the_number_of_errors_and_parses_is_bounded() {
        let many: Vec<String> = (0..1000).map(|n| format!(r#""x{n}":1"#)).collect();
        assert_eq!(
            error_pointers(&format!("{{{}}}", many.join(","))).len(),
            MAX_ERRORS
        );
        let lines = vec!["{}"; 1000].join(",");
        let large = |spaces: usize| format!(r#"{{"lines":[{lines}]{}}}"#, " ".repeat(spaces));
        assert_eq!(error_pointers(&large(0)).len(), MAX_ERRORS);
        assert!(error_pointers(&large(MAX_PARSED_BYTES / 4)).len() <= 5);
        assert_eq!(
            error_pointers(&large(MAX_PARSED_BYTES)),
            ["/lines/0/id".to_owned()].into()
        );
    }
}
