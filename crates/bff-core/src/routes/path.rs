//! The paths that are forwarded: only those that every server interprets alike.
//!
//! If a gateway and a backend interpret a path differently, a client can bypass access checks. RFC 3986 §6.2.2 defines
//! equivalent spellings of one path, and `..` goes up one level (§5.2.4). So a server that normalizes later may serve
//! another path than the one that was checked. Nothing is normalized here: ambiguous paths are rejected, and all others
//! are forwarded byte for byte.
//!
//! | rejected | reason |
//! |---|---|
//! | `.` and `..`, plain, escaped, or with parameters (`..;x`) | they change the path |
//! | an empty segment, except the last | some servers drop it |
//! | `%2F`, `%5C`, `\`, `%00` and other control characters | some servers split or truncate there |
//! | `%41` for `A` and all other escapes of unreserved characters | a prefix could bypass its own rule |
//! | any of these escaped again (`%252e`) | some servers decode twice |
//! | `%` without two hexadecimal digits; non-ASCII bytes | they are invalid (§2.1) |

use percent_encoding::percent_decode;

/// The largest depth of nested escapes.
const MAX_DEPTH: usize = 3;

/// Checks a path. The error is the reason why it is not forwarded.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("it does not begin with a slash");
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err("a segment is empty");
        }
        check_segment(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if !segment.is_ascii() {
        return Err("a non-ASCII character is not escaped");
    }
    check_escapes(segment)?;
    let mut text = segment.as_bytes().to_vec();
    for _ in 0..=MAX_DEPTH {
        check_bytes(&text)?;
        let decoded: Vec<u8> = percent_decode(&text).collect();
        if decoded == text {
            return Ok(());
        }
        text = decoded;
    }
    Err("escapes are nested too deeply")
}

/// Checks that every `%` starts an escape, and that no unreserved character is escaped (RFC 3986 §2.3).
fn check_escapes(segment: &str) -> Result<(), &'static str> {
    for after in segment.split('%').skip(1) {
        let digits = after
            .get(..2)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        match byte {
            None => return Err("a % is not followed by two hexadecimal digits"),
            Some(b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => {
                return Err("an unreserved character is escaped");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_bytes(text: &[u8]) -> Result<(), &'static str> {
    if text.iter().any(u8::is_ascii_control) {
        return Err("it contains a control character");
    }
    if text.iter().any(|b| matches!(b, b'/' | b'\\')) {
        return Err("it contains an escaped slash or a backslash");
    }
    let name = text.split(|b| *b == b';').next().unwrap_or_default();
    // Some servers trim white space around a segment.
    if matches!(name.trim_ascii(), b"." | b"..") {
        return Err("a segment is . or ..");
    }
    Ok(())
}

/// Whether `path` equals `prefix` or is below it, by whole segments.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks a path of the configuration: `/`, or a path without a final slash.
pub(super) fn check_plain(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err("must begin with a slash".to_owned());
    }
    if text.len() > 1 && text.ends_with('/') {
        return Err("must not end with a slash; paths below it match anyway".to_owned());
    }
    if text.contains(['?', '#', '*', '{', '}', '%']) {
        return Err("must be a plain path without query, pattern or escapes".to_owned());
    }
    check(text).map_err(|reason| format!("is not a safe path: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ambiguous_path_is_rejected() {
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
    fn an_unambiguous_path_is_accepted() {
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

    /// The path as a backend with all known quirks interprets it: it decodes twice, takes `\` for `/`, drops parameters
    /// and empty segments, and resolves `..`.
    fn interpret_like_quirky_backend(path: &str) -> String {
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
        fn an_accepted_path_stays_below_its_prefix(rest in pieces()) {
            let path = format!("/own/{rest}");
            if check(&path).is_ok() {
                let seen = interpret_like_quirky_backend(&path);
                prop_assert!(seen == "/own" || seen.starts_with("/own/"), "{path} becomes {seen}");
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = check(&text);
            let _ = check(&format!("/{}", text.repeat(20)));
        }
    }
}
