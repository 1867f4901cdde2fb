//! Who a gateway depends on: start-up waits to know where they are, and operators are shown what is wrong with them.

use crate::auth::Authenticator;
use crate::discovery::First;
use crate::grpc;
use crate::outbound::{Reason, Upstream};

/// One of them.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// The issuer, for its keys.
    Keys(Authenticator),
    /// A backend over HTTP.
    Http(Upstream),
    /// A backend over gRPC.
    Grpc(grpc::Upstream),
}

impl Known {
    /// Its name in configuration.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Keys(_) => "auth.keys",
            Self::Http(upstream) => upstream.name(),
            Self::Grpc(upstream) => upstream.name(),
        }
    }

    /// The first answer about its instances; none where it is not asked.
    pub(super) fn first(&self) -> Option<First> {
        match self {
            Self::Keys(auth) => auth.first(),
            Self::Http(upstream) => Some(upstream.first()),
            Self::Grpc(upstream) => Some(upstream.first()),
        }
    }

    /// What is wrong with it at the moment.
    pub(super) fn trouble(&self) -> Option<Reason> {
        match self {
            Self::Keys(auth) => auth.trouble(),
            Self::Http(upstream) => upstream.trouble(),
            Self::Grpc(upstream) => upstream.trouble(),
        }
    }
}
