//! The values of header fields by the grammar of RFC 9110 §5.6: lists, parameters, quoted strings and weights.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};

/// The members of a list (§5.6.1), from all field lines in their order. Empty members are ignored. A line that is not
/// ASCII text has no members.
pub fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| list_members(line.to_str().unwrap_or_default()))
}

/// The members of a list in one field line.
pub fn list_members(line: &str) -> impl Iterator<Item = &str> {
    split_outside_quotes(line, ',').filter(|member| !member.is_empty())
}

/// The value of a field that is no list, such as `Content-Type`. `None` if it is absent, repeated or not ASCII text.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none());
    line.and_then(|line| line.to_str().ok())
}

/// The media type in `Content-Type` (§8.3.1), in lower case and without its parameters. Empty if [`single`] has no
/// value.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = single(headers, &header::CONTENT_TYPE).unwrap_or_default();
    with_parameters(value).0.to_ascii_lowercase()
}

/// Whether a body has a content coding (§8.4). `identity` does not count.
pub fn has_content_coding(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = lines.flat_map(|line| list_members(line.to_str().unwrap_or("?")));
    codings.any(|coding| !coding.eq_ignore_ascii_case("identity"))
}

/// The text before the parameters, and the parameters (§5.6.6): their names, and their values without quotes.
pub fn with_parameters(text: &str) -> (&str, impl Iterator<Item = (&str, Cow<'_, str>)>) {
    let mut parts = split_outside_quotes(text, ';');
    let value = parts.next().unwrap_or_default();
    let parameters = parts.filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.trim_matches(OWS), unquote(value.trim_matches(OWS)))
    });
    (value, parameters)
}

/// A member of a negotiation list without its weight, and the weight in thousandths (§12.4.2). `None`: the weight is
/// malformed. Other parameters are ignored.
pub fn with_weight(member: &str) -> (&str, Option<u16>) {
    let (value, mut parameters) = with_parameters(member);
    let weight = parameters.find(|(name, _)| name.eq_ignore_ascii_case("q"));
    (value, weight.map_or(Some(1000), |(_, q)| parse_weight(&q)))
}

/// `0`, `1`, and up to three decimals.
fn parse_weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let valid = decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" if valid => Some(thousandths),
        "1" if valid && thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// The value of a token or of a quoted string (§5.6.4).
pub fn unquote(text: &str) -> Cow<'_, str> {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    match inner {
        Some(inner) if inner.contains('\\') => {
            let mut unescaped = String::with_capacity(inner.len());
            let mut characters = inner.chars();
            while let Some(c) = characters.next() {
                unescaped.extend(if c == '\\' {
                    characters.next()
                } else {
                    Some(c)
                });
            }
            unescaped.into()
        }
        Some(inner) => inner.into(),
        None => text.into(),
    }
}

/// Optional white space (§5.6.3).
const OWS: [char; 2] = [' ', '\t'];

/// The parts between the separators, without white space around them. A separator in a quoted string does not count.
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c| {
        let is_escaped = escaped;
        escaped = quoted && c == '\\' && !is_escaped;
        quoted ^= c == '"' && !is_escaped;
        c == separator && !quoted
    });
    parts.map(|part| part.trim_matches(OWS))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_list_has_members_of_all_lines() {
        for (lines, expected) in [
            (&[""][..], &[][..]),
            (&["a"], &["a"]),
            (&[" a ,\tb\t"], &["a", "b"]),
            (&[",, a, ,b,"], &["a", "b"]),
            (&["a", "b, c"], &["a", "b", "c"]),
            (&["a;b=\"c, d\", e"], &["a;b=\"c, d\"", "e"]),
            (&["a=\"\\\",b\", c"], &["a=\"\\\",b\"", "c"]),
            (&["a=\"\\\\\",b"], &["a=\"\\\\\"", "b"]),
            (&["a=\"b, c"], &["a=\"b, c"]),
            (&["\\,b"], &["\\", "b"]),
        ] {
            let name = HeaderName::from_static("x");
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&name, HeaderValue::from_static(line));
            }
            assert_eq!(members(&headers, &name).collect::<Vec<_>>(), expected);
        }
    }

    fn header_map(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| HeaderValue::from_bytes(line.as_bytes()).unwrap();
        let fields = lines.iter().map(|line| (name.clone(), value(line)));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn a_media_type_is_read_without_case_and_parameters() {
        for (lines, expected) in [
            (&["text/html"][..], "text/html"),
            (&["Text/HTML ; charset=\"a;b\""], "text/html"),
            (&[""], ""),
            (&[], ""),
            (&["text/html", "text/html"], ""),
            (&["text/\u{e9}"], ""),
            (&["text/html, text/plain"], "text/html, text/plain"),
        ] {
            let headers = header_map(header::CONTENT_TYPE, lines);
            assert_eq!(media_type(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn identity_is_no_content_coding() {
        for (lines, coded) in [
            (&[][..], false),
            (&[""], false),
            (&["identity"], false),
            (&["Identity,", "IDENTITY"], false),
            (&["gzip"], true),
            (&["identity, X-GZIP"], true),
            (&["identity", "br"], true),
            (&["\u{e9}"], true),
        ] {
            let headers = header_map(header::CONTENT_ENCODING, lines);
            assert_eq!(has_content_coding(&headers), coded, "{lines:?}");
        }
    }

    #[test]
    fn parameters_may_be_quoted() {
        let (value, parameters) = with_parameters("text/plain ; A=b;c=\"d;\\\"e\" ;; f");
        let parameters: Vec<_> = parameters.collect();
        assert_eq!(value, "text/plain");
        let expected = [("A", "b"), ("c", "d;\"e"), ("f", "")];
        assert_eq!(
            parameters,
            expected.map(|(name, value)| (name, value.into()))
        );
    }

    #[test]
    fn a_weight_has_at_most_three_decimals() {
        for (text, weight) in [
            ("a", Some(1000)),
            ("a;q=1", Some(1000)),
            ("a;q=1.", Some(1000)),
            ("a;q=1.000", Some(1000)),
            ("a ; Q=0.5", Some(500)),
            ("a;q=0.05", Some(50)),
            ("a;q=0.001", Some(1)),
            ("a;q=0", Some(0)),
            ("a;b=\"c;q=0\";q=0.2", Some(200)),
            ("a;level=1;q=0.3;ext=2", Some(300)),
            ("a;q=", None),
            ("a;q=2", None),
            ("a;q=1.001", None),
            ("a;q=0.0001", None),
            ("a;q=-1", None),
            ("a;q=.5", None),
            ("a;q=0.5x", None),
            ("a;q=1e-1", None),
            ("a;q=NaN", None),
        ] {
            assert_eq!(with_weight(text), ("a", weight), "{text}");
        }
    }
}
