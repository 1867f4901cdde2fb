//! Which paths may be passed on: those that mean the same to everybody who reads them.
//!
//! A gateway and a backend that read a path differently open doors to each other's rooms. RFC 3986 §6.2.2 has two
//! spellings of one path be equivalent and §5.2.4 lets `..` climb, so whoever normalises later may end elsewhere than
//! where access was decided. Nothing is normalised here: a path with a second spelling of its own is refused, and what
//! passes is passed byte for byte.
//!
//! | refused | because |
//! |---|---|
//! | `.` and `..`, plain, escaped, or with parameters (`..;x`) | they climb |
//! | an empty segment, but for the last | some servers drop it |
//! | `%2F`, `%5C`, `\`, `%00` and other control characters | some servers split or cut there |
//! | `%41` for `A` and all other escapes of unreserved characters | a prefix could be spelt past its own rule |
//! | any of these escaped again (`%252e`) | some servers decode twice |
//! | `%` without two hexadecimal digits; bytes that are no ASCII | they mean nothing (§2.1) |

use percent_encoding::percent_decode;

/// How often an escape may hide another.
const DEPTH: usize = 3;

/// Says why a path may not be passed on.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("it begins with no slash");
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err("a segment is empty");
        }
        segment_is_safe(segment)?;
    }
    Ok(())
}

fn segment_is_safe(segment: &str) -> Result<(), &'static str> {
    if !segment.is_ascii() {
        return Err("characters beyond ASCII are not escaped");
    }
    escapes_are_needed(segment)?;
    let mut text = segment.as_bytes().to_vec();
    for _ in 0..=DEPTH {
        bytes_are_safe(&text)?;
        let decoded: Vec<u8> = percent_decode(&text).collect();
        if decoded == text {
            return Ok(());
        }
        text = decoded;
    }
    Err("an escape hides another, and another")
}

/// Every `%` is an escape, and none is of a character that needs none (RFC 3986 §2.3).
fn escapes_are_needed(segment: &str) -> Result<(), &'static str> {
    for after in segment.split('%').skip(1) {
        let digits = after
            .get(..2)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        match byte {
            None => return Err("a % is followed by no two hexadecimal digits"),
            Some(b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => {
                return Err("a character that needs no escape is escaped");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn bytes_are_safe(text: &[u8]) -> Result<(), &'static str> {
    if text.iter().any(u8::is_ascii_control) {
        return Err("it holds a control character");
    }
    if text.iter().any(|b| matches!(b, b'/' | b'\\')) {
        return Err("it holds a slash that divides nothing, or a backslash");
    }
    let name = text.split(|b| *b == b';').next().unwrap_or_default();
    // Some drop white space around a segment.
    if matches!(name.trim_ascii(), b"." | b"..") {
        return Err("a segment is . or ..");
    }
    Ok(())
}

/// Whether `path` is `prefix` or lies below it, segment by segment.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path as configuration writes it, `/` or without a final slash.
pub(super) fn plain(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err("begins with no slash".to_owned());
    }
    if text.len() > 1 && text.ends_with('/') {
        return Err("ends in a slash; what lies below it is meant anyway".to_owned());
    }
    if text.contains(['?', '#', '*', '{', '}', '%']) {
        return Err("is a plain path, without query, pattern or escapes".to_owned());
    }
    check(text).map_err(|why| format!("is no safe path: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_with_a_second_reading_is_refused() {
        for bad in [
            "",
            "a",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/a/.",
            "/a/%2e%2e/b",
            "/a/%2E%2e/b",
            "/a/.%2e/b",
            "/a/..;x/b",
            "/a/..%3bx/b",
            "/a/..%20/b",
            "/a//b",
            "//a",
            "/a/b//",
            "/a%2Fb",
            "/a%2fb",
            "/a\\b",
            "/a%5Cb",
            "/a%00b",
            "/a%0d%0ab",
            "/a%7f",
            "/%61dmin",
            "/a%7Eb",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/%252e%252e/b",
            "/a%252fb",
            "/a%25252fb",
            "/a%2500",
            "/a%2525252525252fb",
            "/a/\u{e9}",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_means_one_thing_passes() {
        for good in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/..d/e..",
            "/a/...",
            "/a%20b/%C3%A9",
            "/a;v=1/b",
            "/a/100%25",
            "/a:b@c/(d)*+,=!$&'",
            "/a%3Fb%23c",
        ] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }

    /// A backend that does everything some backend does: decodes twice, takes `\` for `/`, drops parameters and empty
    /// segments, and lets `..` climb.
    fn read_by_a_careless_backend(path: &str) -> String {
        let once = percent_decode(path.as_bytes())
            .decode_utf8_lossy()
            .into_owned();
        let twice = percent_decode(once.as_bytes())
            .decode_utf8_lossy()
            .into_owned();
        let mut out: Vec<&str> = Vec::new();
        for segment in twice.split(['/', '\\']) {
            match segment.split(';').next().unwrap_or_default().trim() {
                "" | "." => {}
                ".." => drop(out.pop()),
                other => out.push(other),
            }
        }
        format!("/{}", out.join("/"))
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(
            &[
                "/", "//", ".", "..", "a", "B", "%2e", "%2E", "%2f", "%5c", "\\", ";", ";x", "%3b",
                "%25", "%252e", "%252f", "%20", " ", "%00", "%61", "~", "%c3%a9", "%", "-",
            ][..],
        );
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn whatever_passes_stays_below_its_prefix(rest in pieces()) {
            let path = format!("/own/{rest}");
            if check(&path).is_ok() {
                let read = read_by_a_careless_backend(&path);
                prop_assert!(read == "/own" || read.starts_with("/own/"), "{path} is read as {read}");
            }
        }

        #[test]
        fn no_text_panics_or_takes_long(text: String) {
            let _ = check(&text);
            let _ = check(&format!("/{}", text.repeat(20)));
        }
    }
}
