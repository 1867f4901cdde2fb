//! W3C Trace Context: the trace of a request.

use http::{HeaderMap, HeaderName, HeaderValue};

use bff_runtime::net::Env;

/// The header, from clients and to backends.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The state of tracing vendors, forwarded unchanged.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A trace, and the span of this request in it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of W3C Trace Context")]
pub struct Trace {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
    state: Option<HeaderValue>,
}

impl Trace {
    /// A new trace. It is not sampled.
    pub fn begin(env: &Env) -> Self {
        let trace_id = u128::from(env.random()) << 64 | u128::from(env.random().max(1));
        Self {
            trace_id,
            span_id: env.random().max(1),
            sampled: false,
            state: None,
        }
    }

    /// Continues the client's trace in a new span; starts a new trace if the client sent no valid one.
    pub fn continue_from(headers: &HeaderMap, env: &Env) -> Self {
        let mut values = headers.get_all(TRACEPARENT).iter();
        // Two parents are invalid, so neither is used.
        let parent = match (values.next(), values.next()) {
            (Some(parent), None) => parent.to_str().ok().and_then(parse),
            _ => None,
        };
        match parent {
            Some((trace_id, sampled)) => Self {
                trace_id,
                span_id: env.random().max(1),
                sampled,
                state: state(headers),
            },
            None => Self::begin(env),
        }
    }

    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        let mut text = [0; 32];
        hex(&mut text, self.trace_id.to_be_bytes());
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Adds the headers of a child span to a request.
    pub fn propagate(&self, headers: &mut HeaderMap, env: &Env) {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], self.trace_id.to_be_bytes());
        hex(&mut text[36..52], env.random().max(1).to_be_bytes());
        text[54] = if self.sampled { b'1' } else { b'0' };
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            headers.insert(TRACEPARENT, value);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }

    /// The id of this span, 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }
}

/// The state, with all header lines in one list. `None` if it is absent or invalid (W3C Trace Context §3.3.1). An
/// invalid state is not forwarded.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = headers
        .get_all(TRACESTATE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let list = lines.join(&b',');
    let text = std::str::from_utf8(&list).ok()?;
    let members = text
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']));
    let members: Vec<&str> = members.filter(|member| !member.is_empty()).collect();
    let is_valid = (1..=MAX_STATE_MEMBERS).contains(&members.len())
        && members.iter().all(|member| is_state_member(member));
    is_valid.then(|| HeaderValue::from_bytes(&list).ok())?
}

/// The largest number of members of `tracestate`.
const MAX_STATE_MEMBERS: usize = 32;

/// Whether this is `key=value` of `tracestate`.
fn is_state_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let is_key_part = |part: &str, max: usize| {
        let mut bytes = part.bytes();
        let first = bytes.next();
        first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && part.len() <= max
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b))
    };
    let is_key = match key.split_once('@') {
        None => is_key_part(key, 256),
        Some((tenant, system)) => is_key_part(tenant, 241) && is_key_part(system, 14),
    };
    let is_value = (1..=256).contains(&value.len())
        && value
            .bytes()
            .all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    is_key && is_value
}

/// Writes bytes as lower-case hexadecimal.
fn hex<const BYTES: usize>(to: &mut [u8], bytes: [u8; BYTES]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (digits, byte) in to.chunks_exact_mut(2).zip(bytes) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// The trace id and the sampled flag of a `traceparent` (Trace Context §3.2). A later version may have more fields.
fn parse(text: &str) -> Option<(u128, bool)> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower_hex = |s: &str, len: usize| {
        s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let well_formed = lower_hex(version, 2)
        && lower_hex(trace, 32)
        && lower_hex(parent, 16)
        && lower_hex(flags, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none());
    if !well_formed {
        return None;
    }
    let trace_id = u128::from_str_radix(trace, 16).ok()?;
    let parent = u64::from_str_radix(parent, 16).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace_id != 0 && parent != 0).then_some((trace_id, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACEPARENT_VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_continued_in_a_new_span() {
        let env = Env::real();
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(TRACEPARENT_VALUE));
        let trace = Trace::continue_from(&headers, &env);
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let mut out = HeaderMap::new();
        trace.propagate(&mut out, &env);
        let out = out[TRACEPARENT].to_str().unwrap();
        assert!(
            out.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
            "{out}"
        );
        assert!(
            out.ends_with("-01") && !out.contains("00f067aa0ba902b7"),
            "{out}"
        );
        assert!(parse(out).is_some());
    }

    #[test]
    fn a_state_in_several_headers_is_one_list() {
        let env = Env::real();
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(TRACEPARENT_VALUE));
        for state in ["a=1,b=2", "c=3"] {
            headers.append(TRACESTATE, HeaderValue::from_static(state));
            let mut out = HeaderMap::new();
            Trace::continue_from(&headers, &env).propagate(&mut out, &env);
            let all = if state == "c=3" { "a=1,b=2,c=3" } else { state };
            assert_eq!(out[TRACESTATE], all);
        }
        headers.append(TRACEPARENT, HeaderValue::from_static(TRACEPARENT_VALUE));
        let trace = Trace::continue_from(&headers, &env);
        assert!(
            !TRACEPARENT_VALUE.contains(&trace.trace_id()),
            "two parents start a new trace"
        );
    }

    #[test]
    fn an_invalid_state_is_dropped() {
        for (lines, valid) in [
            (&["a=1"][..], true),
            (&["a=1 , ,b=2,"], true),
            (&["1a_-*/=!~", "t-1@sys=2"], true),
            (&[""], false),
            (&["a"], false),
            (&["a="], false),
            (&["=1"], false),
            (&["A=1"], false),
            (&["a=1=2"], false),
            (&["@a=1"], false),
            (&["a=1", "b=ü"], false),
            (&[&*"a=1,".repeat(33)], false),
            (&[&*format!("a={}", "1".repeat(257))], false),
            (&[&*format!("{}=1", "a".repeat(257))], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                headers.append(TRACESTATE, value);
            }
            assert_eq!(state(&headers).is_some(), valid, "{lines:?}");
        }
    }

    #[test]
    fn a_malformed_parent_is_ignored() {
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(parse(invalid), None, "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
