//! The dependencies of a gateway. The start waits for their service discovery, and `/readyz` shows their problems.

use crate::auth::Authenticator;
use crate::discovery::InitialResolution;
use crate::grpc;
use crate::outbound::{Reason, Upstream};

/// A dependency of a gateway.
#[derive(Clone, Debug)]
pub(super) enum Dependency {
    /// The issuer's JWKS.
    Jwks(Authenticator),
    /// A backend over HTTP.
    Http(Upstream),
    /// A backend over gRPC.
    Grpc(grpc::Upstream),
}

impl Dependency {
    /// The name in the configuration.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Jwks(_) => "auth.jwks",
            Self::Http(upstream) => upstream.name(),
            Self::Grpc(upstream) => upstream.name(),
        }
    }

    /// The first result of service discovery; `None` if it is not used.
    pub(super) fn initial_discovery(&self) -> Option<InitialResolution> {
        match self {
            Self::Jwks(auth) => auth.initial_discovery(),
            Self::Http(upstream) => Some(upstream.initial_discovery()),
            Self::Grpc(upstream) => Some(upstream.initial_discovery()),
        }
    }

    /// The reason why it is unhealthy now, if it is.
    pub(super) fn unhealthy_reason(&self) -> Option<Reason> {
        match self {
            Self::Jwks(auth) => auth.unhealthy_reason(),
            Self::Http(upstream) => upstream.unhealthy_reason(),
            Self::Grpc(upstream) => upstream.unhealthy_reason(),
        }
    }
}
