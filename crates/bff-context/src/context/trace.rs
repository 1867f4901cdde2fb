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

/// The state of the client: a list, in one header or in several (Trace Context §3.3.1.1).
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACESTATE).iter();
    let first = values.next()?;
    let rest: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
    if rest.is_empty() {
        return Some(first.clone());
    }
    let all = [&[first.as_bytes()], &rest[..]].concat().join(&b',');
    HeaderValue::from_bytes(&all).ok()
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
