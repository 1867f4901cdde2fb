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
        let lines = headers.get_all(PRIORITY).iter().map(HeaderValue::as_bytes);
        let lines: Vec<&[u8]> = lines.collect();
        if lines.is_empty() {
            return screen;
        }
        screen.max(Self::parse(&lines.join(&b',')).unwrap_or(Self::DEFAULT))
    }

    /// The `u` member of the dictionary (RFC 9651 §3.2). A value that is no integer from 0 to 7 is ignored (RFC 9218
    /// §4), and so is a field that is no dictionary.
    fn parse(text: &[u8]) -> Option<Self> {
        let dictionary: sfv::Dictionary = sfv::Parser::new(text).parse().ok()?;
        let sfv::ListEntry::Item(item) = dictionary.get("u")? else {
            return None;
        };
        let urgency: i64 = item.bare_item.as_integer()?.into();
        let urgency = u8::try_from(urgency).ok()?;
        (urgency <= 7).then_some(Self(urgency))
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
        for (value, urgency) in [
            ("u=7", 7),
            ("i, u=5;a=b", 5),
            ("u=1, u=6", 6),
            ("u=6, u=1", 3),
            ("a=\"b, u=7\", u=6", 6),
            ("\tu=6", 3),
            ("u=6.0", 3),
            ("u=\"6\"", 3),
            ("u=(6)", 3),
            ("u=-1", 3),
            ("u=99999999999999999999", 3),
            ("U=6", 3),
            ("u=6,", 3),
            ("u = 6", 3),
            ("", 3),
        ] {
            assert_eq!(of(value, 3), urgency, "{value:?}");
        }
        let mut headers = HeaderMap::new();
        for line in ["u=7", "i"] {
            headers.append(PRIORITY, HeaderValue::from_static(line));
        }
        assert_eq!(Urgency::of(&headers, Urgency::DEFAULT).get(), 7);
        assert_eq!(Urgency::of(&HeaderMap::new(), Urgency::new(2)).get(), 2);
    }
}
