//! Urgency (RFC 9218): 0 is the most urgent, 7 the least. Prefetches are 6 and 7.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header, from clients and to backends.
pub const PRIORITY: HeaderName = HeaderName::from_static("priority");

/// The urgency of a request. A smaller value is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency(u8);

impl Urgency {
    /// The default of a request without the header (RFC 9218 §4.1).
    pub const DEFAULT: Self = Self(3);
    /// Work that no user waits for, such as timed polls. A route for polls is never more urgent than this.
    pub const BACKGROUND: Self = Self(5);
    /// Content that may be needed later. This and anything less urgent is a prefetch.
    pub const PREFETCH: Self = Self(6);
    /// Background work of the gateway.
    pub const LOWEST: Self = Self(7);

    /// An urgency. Values over 7 become 7.
    pub const fn new(urgency: u8) -> Self {
        Self(if urgency > 7 { 7 } else { urgency })
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The urgency of a request: the client can lower the screen's, but not raise it.
    #[must_use]
    pub fn of(headers: &HeaderMap, screen: Self) -> Self {
        match headers.get(PRIORITY).and_then(|v| v.to_str().ok()) {
            Some(text) => screen.max(Self::parse(text).unwrap_or(Self::DEFAULT)),
            None => screen,
        }
    }

    /// The `u` member of the dictionary. Anything not understood is ignored (RFC 9218 §4).
    fn parse(text: &str) -> Option<Self> {
        text.split(',')
            .filter_map(|member| member.trim().strip_prefix("u="))
            .filter_map(|value| value.split(';').next()?.parse().ok())
            .rfind(|u| (0..=7).contains(u))
            .map(Self)
    }

    /// The header to send upstream.
    pub fn header(self) -> HeaderValue {
        const TEXT: [&str; 8] = ["u=0", "u=1", "u=2", "u=3", "u=4", "u=5", "u=6", "u=7"];
        HeaderValue::from_static(TEXT[usize::from(self.0 & 7)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str, screen: u8) -> u8 {
        let mut headers = HeaderMap::new();
        headers.insert(PRIORITY, HeaderValue::from_static(value));
        Urgency::of(&headers, Urgency::new(screen)).get()
    }

    #[test]
    fn a_client_can_only_lower_the_urgency() {
        assert_eq!(of("u=6, i", 3), 6);
        assert_eq!(of("u=0", 3), 3);
        assert_eq!(of("i", 2), 3);
        assert_eq!(of("u=9", 3), 3);
        assert_eq!(of("nonsense", 5), 5);
        assert_eq!(Urgency::of(&HeaderMap::new(), Urgency::new(2)).get(), 2);
    }
}
