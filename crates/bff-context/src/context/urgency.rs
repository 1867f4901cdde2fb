//! RFC 9218 urgency: 0 (most urgent) to 7; prefetches are 6 and 7.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header, in and out.
pub const PRIORITY: HeaderName = HeaderName::from_static("priority");

/// How urgent a request is; smaller is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency(u8);

impl Urgency {
    /// RFC 9218 §4.1: what a request without a word is.
    pub const DEFAULT: Self = Self(3);
    /// What nobody looks at now, such as a poll by a timer. A route that serves polls is no more urgent than this.
    pub const BACKGROUND: Self = Self(5);
    /// What may be wanted later: this and anything less urgent is a prefetch.
    pub const PREFETCH: Self = Self(6);
    /// Work nobody waits for.
    pub const LOWEST: Self = Self(7);

    /// An urgency; anything over 7 is 7.
    pub const fn new(urgency: u8) -> Self {
        Self(if urgency > 7 { 7 } else { urgency })
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// What the request gets: the client may only lower itself below what its screen allows.
    #[must_use]
    pub fn of(headers: &HeaderMap, screen: Self) -> Self {
        match headers.get(PRIORITY).and_then(|v| v.to_str().ok()) {
            Some(text) => screen.max(Self::parse(text).unwrap_or(Self::DEFAULT)),
            None => screen,
        }
    }

    /// The `u` member of a structured dictionary; anything not understood is ignored (RFC 9218 §4).
    fn parse(text: &str) -> Option<Self> {
        text.split(',')
            .filter_map(|member| member.trim().strip_prefix("u="))
            .filter_map(|value| value.split(';').next()?.parse().ok())
            .rfind(|u| (0..=7).contains(u))
            .map(Self)
    }

    /// The header we send upstream.
    pub fn header(self) -> HeaderValue {
        const TEXT: [&str; 8] = ["u=0", "u=1", "u=2", "u=3", "u=4", "u=5", "u=6", "u=7"];
        HeaderValue::from_static(TEXT[usize::from(self.0 & 7)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sent: &'static str, screen: u8) -> u8 {
        let mut headers = HeaderMap::new();
        headers.insert(PRIORITY, HeaderValue::from_static(sent));
        Urgency::of(&headers, Urgency::new(screen)).get()
    }

    #[test]
    fn a_client_can_only_lower_itself() {
        assert_eq!(of("u=6, i", 3), 6);
        assert_eq!(of("u=0", 3), 3);
        assert_eq!(of("i", 2), 3);
        assert_eq!(of("u=9", 3), 3);
        assert_eq!(of("nonsense", 5), 5);
        assert_eq!(Urgency::of(&HeaderMap::new(), Urgency::new(2)).get(), 2);
    }
}
