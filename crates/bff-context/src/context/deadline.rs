//! The deadline of a request, and the `Request-Timeout` header that can lower it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// The time in milliseconds that the sender waits: from clients to us, and from us to backends.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");

/// Reserved for sending the response: calls to backends end this long before the deadline.
const RESERVE: Duration = Duration::from_millis(20);

/// The time limit of a request.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// The whole response must be sent by then.
    Total(Instant),
    /// The head must be sent by `head`. Afterwards at most `idle` may pass between two chunks.
    Stream {
        /// The deadline of the head.
        head: Instant,
        /// The idle timeout of the body.
        idle: Duration,
    },
}

impl Deadline {
    /// The deadline of the response; of a stream, the deadline of its head.
    pub fn head(self) -> Instant {
        match self {
            Self::Total(instant) | Self::Stream { head: instant, .. } => instant,
        }
    }

    /// The deadline of calls to backends: earlier than the head's by the reserve, or by a tenth of the time left if
    /// less.
    pub fn calls(self) -> Instant {
        let time_left = self.head().saturating_duration_since(Instant::now());
        self.head() - RESERVE.min(time_left / 10)
    }
}

/// The `Request-Timeout` of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTimeout(pub Duration);

impl RequestTimeout {
    /// The client's value: a positive integer, in milliseconds. The edge limits it.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        let mut values = headers.get_all(REQUEST_TIMEOUT).iter();
        let Some(first) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err("Request-Timeout must be sent at most once.");
        }
        Self::parse(first.as_bytes())
            .map(Some)
            .ok_or("Request-Timeout must be a positive integer, in milliseconds.")
    }

    fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let millis = text.iter().try_fold(0_u64, |millis, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            Some(millis.saturating_mul(10).saturating_add(digit))
        })?;
        (millis > 0).then(|| Self(Duration::from_millis(millis)))
    }

    /// The header to send upstream; at least 1.
    pub fn header(time_left: Duration) -> HeaderValue {
        HeaderValue::from(
            u64::try_from(time_left.as_millis())
                .unwrap_or(u64::MAX)
                .max(1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_positive_integers_are_valid() {
        for invalid in ["", "0", "000", "-1", "+1", "1.5", "1s", " 1", "1,2"] {
            assert_eq!(
                RequestTimeout::parse(invalid.as_bytes()),
                None,
                "{invalid:?}"
            );
        }
        for (valid, millis) in [
            ("250", 250),
            ("0250", 250),
            ("1234567890", 1_234_567_890),
            ("18446744073709551616", u64::MAX),
            ("99999999999999999999999999", u64::MAX),
        ] {
            let parsed = RequestTimeout::parse(valid.as_bytes());
            let expected = RequestTimeout(Duration::from_millis(millis));
            assert_eq!(parsed, Some(expected), "{valid}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_is_small_for_a_short_deadline() {
        let short = Deadline::Total(Instant::now() + Duration::from_millis(10));
        assert!(short.calls() > Instant::now() + Duration::from_millis(8));
    }

    proptest! {
        #[test]
        fn a_timeout_round_trips(millis in 1_u64..999_999_999) {
            let time_left = Duration::from_millis(millis);
            let parsed = RequestTimeout::parse(RequestTimeout::header(time_left).as_bytes());
            prop_assert_eq!(parsed, Some(RequestTimeout(time_left)));
        }

        #[test]
        fn no_text_panics(text: Vec<u8>) {
            let _ = RequestTimeout::parse(&text);
        }
    }
}
