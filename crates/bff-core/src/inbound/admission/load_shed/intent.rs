//! The priority of a request, as its headers show it. The lowest class is shed first.

use http::{HeaderMap, Method};

use crate::context::Urgency;
use crate::inbound::endpoints::{EndpointOptions, WriteDetection};

/// The class of a request for load shedding, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PriorityClass {
    /// A request that the user may need later: urgency 6 or 7.
    Prefetch,
    /// A request that no user waits for, such as a poll by a timer: urgency 5.
    Background,
    /// A read without a credential.
    Anonymous,
    /// A read with a credential.
    SignedIn,
    /// A write. If it is rejected, the user's input may be lost.
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

/// The properties of a request that decide its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    urgency: Urgency,
    is_write: bool,
    credential: bool,
}

impl Intent {
    /// Reads the headers. A credential counts before it is verified, because verification is work. An invalid one is
    /// rejected with 401 soon, and frees its slot.
    pub(crate) fn from_headers(
        method: &Method,
        headers: &HeaderMap,
        options: &EndpointOptions,
        credential: bool,
    ) -> Self {
        let is_write = match options.write_detection {
            WriteDetection::ByMethod => {
                !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            }
            WriteDetection::ByBody => true,
            WriteDetection::ReadOnly => false,
        };
        Self {
            urgency: Urgency::of(headers, options.urgency),
            is_write,
            credential,
        }
    }

    /// The same request, after its body proved to be a read.
    #[cfg(any(feature = "graphql", test))]
    pub(crate) fn as_read(self) -> Self {
        Self {
            is_write: false,
            ..self
        }
    }

    /// The class. Urgency comes first: a client can use it only to lower its own class.
    pub(crate) fn class(self) -> PriorityClass {
        if self.urgency >= Urgency::PREFETCH {
            PriorityClass::Prefetch
        } else if self.urgency >= Urgency::BACKGROUND {
            PriorityClass::Background
        } else if self.is_write {
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

    fn class(urgency: u8, is_write: bool, credential: bool) -> PriorityClass {
        let urgency = Urgency::new(urgency);
        let intent = Intent {
            urgency,
            is_write,
            credential,
        };
        intent.class()
    }

    #[test]
    fn the_class_follows_urgency_then_write_then_credential() {
        assert_eq!(class(3, false, false), PriorityClass::Anonymous);
        assert_eq!(class(4, false, true), PriorityClass::SignedIn);
        assert_eq!(class(0, true, false), PriorityClass::Write);
        assert_eq!(class(5, false, true), PriorityClass::Background);
        assert_eq!(class(6, false, true), PriorityClass::Prefetch);
        assert_eq!(
            class(7, true, true),
            PriorityClass::Prefetch,
            "urgency wins over write"
        );
    }

    #[test]
    fn a_write_is_detected_by_method_or_by_the_endpoint_options() {
        let intent = |method: &Method, write_detection| {
            let options = EndpointOptions {
                write_detection,
                ..EndpointOptions::SCREEN
            };
            Intent::from_headers(method, &HeaderMap::new(), &options, false)
        };
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert_eq!(
                intent(&method, WriteDetection::ByMethod).class(),
                PriorityClass::Anonymous
            );
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(
                intent(&method, WriteDetection::ByMethod).class(),
                PriorityClass::Write
            );
            assert_eq!(
                intent(&method, WriteDetection::ReadOnly).class(),
                PriorityClass::Anonymous
            );
        }
        let by_body = intent(&Method::POST, WriteDetection::ByBody);
        assert_eq!(by_body.class(), PriorityClass::Write);
        assert_eq!(by_body.as_read().class(), PriorityClass::Anonymous);
    }
}
