//! What a request is for, as far as its head tells: what is wanted least is refused first.

use http::{HeaderMap, Method};

use crate::context::Urgency;
use crate::inbound::endpoints::{EndpointOptions, WriteDetection};

/// Why somebody asks, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PriorityClass {
    /// What may be wanted later: urgency 6 or 7.
    Prefetch,
    /// What nobody looks at now, such as a poll by a timer: urgency 5.
    Background,
    /// A view by somebody who sent no credential.
    Anonymous,
    /// A view by somebody who sent one.
    SignedIn,
    /// A change: refused, it may be lost with what somebody has typed.
    Write,
}

impl PriorityClass {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefetch => "prefetch",
            Self::Background => "background",
            Self::Anonymous => "anonymous",
            Self::SignedIn => "signed_in",
            Self::Write => "write",
        }
    }
}

/// What was seen of a request before anything was done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    urgency: Urgency,
    writes: bool,
    credential: bool,
}

impl Intent {
    /// Reads it. Whether there is a credential counts, not yet whether it is good: that takes work, and a bad one is
    /// 401 in a moment and its slot free.
    pub(crate) fn of(
        method: &Method,
        headers: &HeaderMap,
        door: &EndpointOptions,
        credential: bool,
    ) -> Self {
        let writes = match door.write_detection {
            WriteDetection::ByMethod => {
                !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            }
            WriteDetection::ByBody => true,
            WriteDetection::ReadOnly => false,
        };
        Self {
            urgency: Urgency::of(headers, door.urgency),
            writes,
            credential,
        }
    }

    /// The same, now that its body says that it changes nothing.
    #[cfg(any(feature = "graphql", test))]
    pub(crate) fn read(self) -> Self {
        Self {
            writes: false,
            ..self
        }
    }

    /// Urgency comes first, for a client can lower itself and never raise itself by it.
    pub(crate) fn class(self) -> PriorityClass {
        if self.urgency >= Urgency::PREFETCH {
            PriorityClass::Prefetch
        } else if self.urgency >= Urgency::BACKGROUND {
            PriorityClass::Background
        } else if self.writes {
            PriorityClass::Write
        } else if self.credential {
            PriorityClass::SignedIn
        } else {
            PriorityClass::Anonymous
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(urgency: u8, writes: bool, credential: bool) -> PriorityClass {
        let urgency = Urgency::new(urgency);
        let intent = Intent {
            urgency,
            writes,
            credential,
        };
        intent.class()
    }

    #[test]
    fn a_request_is_what_its_head_says() {
        assert_eq!(class(3, false, false), PriorityClass::Anonymous);
        assert_eq!(class(4, false, true), PriorityClass::SignedIn);
        assert_eq!(class(0, true, false), PriorityClass::Write);
        assert_eq!(class(5, false, true), PriorityClass::Background);
        assert_eq!(class(6, false, true), PriorityClass::Prefetch);
        assert_eq!(
            class(7, true, true),
            PriorityClass::Prefetch,
            "it said so itself"
        );
    }

    #[test]
    fn a_write_is_known_by_its_method_or_by_its_door() {
        let of = |method: &Method, writes| {
            let door = EndpointOptions {
                write_detection: writes,
                ..EndpointOptions::SCREEN
            };
            Intent::of(method, &HeaderMap::new(), &door, false)
        };
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert_eq!(
                of(&method, WriteDetection::ByMethod).class(),
                PriorityClass::Anonymous
            );
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(
                of(&method, WriteDetection::ByMethod).class(),
                PriorityClass::Write
            );
            assert_eq!(
                of(&method, WriteDetection::ReadOnly).class(),
                PriorityClass::Anonymous
            );
        }
        let unread = of(&Method::POST, WriteDetection::ByBody);
        assert_eq!(unread.class(), PriorityClass::Write);
        assert_eq!(unread.read().class(), PriorityClass::Anonymous);
    }
}
