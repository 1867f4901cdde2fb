//! One deadline for a whole request, and the `Request-Timeout` header that may lower it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use bff_runtime::net;

/// Milliseconds the sender will wait: from clients to us, and from us to backends.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");

/// What is kept back from calls to backends so that the answer itself leaves in time.
const RESERVE: Duration = Duration::from_millis(20);

/// Until when a request may take.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// The whole answer is out by then.
    Total(Instant),
    /// The head is out by `head`; after that no two pieces are further apart than `idle`.
    Stream {
        /// When the head must be out.
        head: Instant,
        /// The longest silence in the body.
        idle: Duration,
    },
}

impl Deadline {
    /// When the answer (of a stream: its head) must be out.
    pub fn head(self) -> Instant {
        match self {
            Self::Total(at) | Self::Stream { head: at, .. } => at,
        }
    }

    /// When backends stop being waited for: a reserve before the head, at most a tenth of what is left.
    pub fn calls(self) -> Instant {
        let left = self.head().saturating_duration_since(net::now());
        self.head() - RESERVE.min(left / 10)
    }
}

/// A client's `Request-Timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTimeout(pub Duration);

impl RequestTimeout {
    /// What the client sent, if it sent one: a positive integer, in milliseconds. However large it is, the edge caps it.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        let mut sent = headers.get_all(REQUEST_TIMEOUT).iter();
        let Some(first) = sent.next() else {
            return Ok(None);
        };
        if sent.next().is_some() {
            return Err("Request-Timeout was sent more than once.");
        }
        Self::parse(first.as_bytes())
            .map(Some)
            .ok_or("Request-Timeout is a positive integer, in milliseconds.")
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

    /// What is left, as the header we send upstream; at least 1.
    pub fn header(left: Duration) -> HeaderValue {
        HeaderValue::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_positive_integers_pass() {
        for bad in ["", "0", "000", "-1", "+1", "1.5", "1s", " 1", "1,2"] {
            assert_eq!(RequestTimeout::parse(bad.as_bytes()), None, "{bad:?}");
        }
        for (good, millis) in [
            ("250", 250),
            ("0250", 250),
            ("1234567890", 1_234_567_890),
            ("18446744073709551616", u64::MAX),
            ("99999999999999999999999999", u64::MAX),
        ] {
            let parsed = RequestTimeout::parse(good.as_bytes());
            let wanted = RequestTimeout(Duration::from_millis(millis));
            assert_eq!(parsed, Some(wanted), "{good}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_never_eats_a_short_deadline() {
        let short = Deadline::Total(Instant::now() + Duration::from_millis(10));
        assert!(short.calls() > Instant::now() + Duration::from_millis(8));
    }

    proptest! {
        #[test]
        fn what_we_send_we_can_read(millis in 1_u64..999_999_999) {
            let left = Duration::from_millis(millis);
            let read = RequestTimeout::parse(RequestTimeout::header(left).as_bytes());
            prop_assert_eq!(read, Some(RequestTimeout(left)));
        }

        #[test]
        fn no_text_panics(text: Vec<u8>) {
            let _ = RequestTimeout::parse(&text);
        }
    }
}
