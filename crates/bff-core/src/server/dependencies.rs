//! Who a gateway depends on: start-up waits to know where they are, and operators are shown what is wrong with them.

use crate::auth::Authenticator;
use crate::discovery::InitialResolution;
use crate::grpc;
use crate::outbound::{Reason, Upstream};

/// One of them.
#[derive(Clone, Debug)]
pub(super) enum Dependency {
    /// The issuer, for its keys.
    Jwks(Authenticator),
    /// A backend over HTTP.
    Http(Upstream),
    /// A backend over gRPC.
    Grpc(grpc::Upstream),
}

impl Dependency {
    /// Its name in configuration.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Jwks(_) => "auth.jwks",
            Self::Http(upstream) => upstream.name(),
            Self::Grpc(upstream) => upstream.name(),
        }
    }

    /// The first answer about its instances; none where it is not asked.
    pub(super) fn initial_discovery(&self) -> Option<InitialResolution> {
        match self {
            Self::Jwks(auth) => auth.initial_discovery(),
            Self::Http(upstream) => Some(upstream.initial_discovery()),
            Self::Grpc(upstream) => Some(upstream.first()),
        }
    }

    /// What is wrong with it at the moment.
    pub(super) fn unhealthy_reason(&self) -> Option<Reason> {
        match self {
            Self::Jwks(auth) => auth.unhealthy_reason(),
            Self::Http(upstream) => upstream.trouble(),
            Self::Grpc(upstream) => upstream.trouble(),
        }
    }
}
