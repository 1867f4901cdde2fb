//! Everything that is wrong with a body, though a decoder stops at the first mistake.

use std::collections::BTreeMap;

use garde::Validate;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::strict_structs::StrictStructs;
use super::{MAX_ERRORS, add, invalid, pointer_from_serde, unescaped};
use crate::error::FieldError;

/// How often a body is read for its mistakes: one may take several stand-ins.
const MAX_READ: usize = 80;
/// How many bytes are read for them, which bounds how often a large body is: half a millisecond for 64 KiB each time.
const MAX_READ_BYTES: usize = 1 << 20;

/// What a decoder of `T` stops at in a body of so many bytes, which it did at `first`, and every rule broken by what it can
/// read.
///
/// What it stopped at is left out, or another value stands in for it until the decoder goes on from there, and so on. What
/// nothing stands in for takes what it is in with it.
pub(super) fn all<T>((mut body, bytes): (Value, usize), first: FieldError) -> Vec<FieldError>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    let mut stopped = first.clone();
    let mut wrong = vec![first];
    let mut mended = Repaired::default();
    for _ in 0..MAX_READ.min(MAX_READ_BYTES / bytes.max(1)) {
        if wrong.len() >= MAX_ERRORS || !mended.mend(&mut body, &stopped) {
            break;
        }
        match serde_path_to_error::deserialize::<_, T>(StrictStructs(&body)) {
            Ok(value) => {
                for broken in invalid("", &value) {
                    mended.tell(&mut wrong, broken);
                }
                break;
            }
            Err(error) => {
                stopped = pointer_from_serde("", &error);
                mended.tell(&mut wrong, stopped.clone());
            }
        }
    }
    wrong
}

/// Where a body is not as it was sent any more, and how much was tried there.
#[derive(Default)]
struct Repaired(BTreeMap<String, usize>);

impl Repaired {
    /// Leaves out where a decoder stopped, or has the next value stand in for it. False if nothing is left to try.
    fn mend(&mut self, body: &mut Value, stopped: &FieldError) -> bool {
        let mut at = stopped.pointer.as_str();
        while let Some((above, name)) = at.rsplit_once('/') {
            let name = unescaped(name);
            let tried = self.0.entry(at.to_owned()).or_default();
            *tried += 1;
            let Some(within) = body.pointer_mut(above) else {
                at = above;
                continue;
            };
            if let (1, Value::Object(members)) = (*tried, &mut *within) {
                if members.remove(&name).is_some() {
                    return true;
                }
                *tried += 1;
            }
            match (
                within,
                first_variant(&stopped.detail).or_else(|| placeholder(*tried)),
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
            at = above;
        }
        false
    }

    /// Adds a mistake of what was sent: not one of a stand-in.
    fn tell(&self, wrong: &mut Vec<FieldError>, pointer: FieldError) {
        let mut at = pointer.pointer.as_str();
        while !self.0.contains_key(at) {
            match at.rsplit_once('/') {
                Some((above, _)) => at = above,
                None => return add(wrong, pointer),
            }
        }
    }
}

/// A value of each kind, and texts that codes and numbers in figures are read from: from the first or, where something was
/// left out before, the second try on.
fn placeholder(tried: usize) -> Option<Value> {
    Some(match tried {
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

/// The first of a few words, of which a decoder expected one and says so.
fn first_variant(detail: &str) -> Option<Value> {
    let (_, words) = detail
        .strip_prefix("unknown variant ")?
        .split_once(", expected ")?;
    words.split('`').nth(1).map(Value::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;

    crate::id! {
        /// A thing to have.
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
        #[expect(dead_code, reason = "it is only read")]
        how: How,
        #[serde(default)]
        #[garde(skip)]
        #[expect(dead_code, reason = "it is only read")]
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
    #[expect(dead_code, reason = "it is only read")]
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
        #[expect(dead_code, reason = "it is only read")]
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

    fn wrong(text: &str) -> BTreeSet<String> {
        let body: Value = serde_json::from_str(text).unwrap();
        let error = serde_path_to_error::deserialize::<_, Order>(StrictStructs(&body)).unwrap_err();
        let told = all::<Order>((body, text.len()), pointer_from_serde("", &error));
        let many = told.len();
        let told: BTreeSet<String> = told.into_iter().map(|wrong| wrong.pointer).collect();
        assert_eq!(told.len(), many, "told twice: {text}");
        told
    }

    #[test]
    fn every_mistake_is_told_wherever_it_stands_and_none_of_a_stand_in() {
        const CARD: &str = r#""card":{"number":"4111","month":1,"known":true}"#;
        for (text, pointers) in [
            // What lacks, of one object and of several.
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
            // Each item of a list, and items that are wrong as such.
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
            // Broken rules of what can be read are told with what cannot.
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
            // What lacks is told past texts that are read into types of their own, and past words of a few.
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
            assert_eq!(wrong(text), pointers, "{text}");
        }
    }

    #[test]
    fn what_is_told_of_one_body_is_bounded() {
        let many: Vec<String> = (0..1000).map(|n| format!(r#""x{n}":1"#)).collect();
        assert_eq!(wrong(&format!("{{{}}}", many.join(","))).len(), MAX_ERRORS);
        let lines = vec!["{}"; 1000].join(",");
        let large = |spaces: usize| format!(r#"{{"lines":[{lines}]{}}}"#, " ".repeat(spaces));
        assert_eq!(wrong(&large(0)).len(), MAX_ERRORS);
        assert!(wrong(&large(MAX_READ_BYTES / 4)).len() <= 5);
        assert_eq!(
            wrong(&large(MAX_READ_BYTES)),
            ["/lines/0/id".to_owned()].into()
        );
    }
}
