//! A gateway's backends: [`upstreams!`](crate::upstreams) names each once, and makes its client and its configuration.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::action::{Completion, IdempotentWrites};
use crate::server::GatewayBuilder;
use crate::{grpc, outbound};

/// The state of a gateway's routes, made by [`upstreams!`](crate::upstreams).
pub trait GatewayState: Sized + Send + Sync + 'static {
    /// The table `[upstreams]`: one table for each backend.
    type Config: Clone + Debug + DeserializeOwned + Serialize + Send + Sync;
    /// The table `[screens]`: one table for each [`GatewayPart`].
    type Screens: Clone + Debug + Default + DeserializeOwned + Serialize + Send + Sync;

    /// Builds every client and every part. The error is one line; if it is about a key, it begins with that key.
    fn open(
        gateway: &GatewayBuilder<'_>,
        upstreams: &Self::Config,
        screens: &Self::Screens,
    ) -> Result<Self, String>;
}

/// A typed client of one backend.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a client of a backend",
    note = "a backend that only proxy routes use is a `bff_core::ProxyOnly`",
    note = "a part that is not a backend, such as `IdempotentWrites`, belongs in `with {{ … }}` after the struct"
)]
pub trait UpstreamClient: Sized {
    /// How it reaches the backend: `bff_core::outbound::Upstream` over HTTP, `bff_core::grpc::Upstream` over gRPC.
    type Upstream: Transport;

    /// A client of this backend.
    fn new(upstream: Self::Upstream) -> Self;
}

/// A way to reach a backend.
pub trait Transport: Sized {
    /// Registers the backend with the gateway.
    fn open(
        gateway: &GatewayBuilder<'_>,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<Self, String>;
}

impl Transport for outbound::Upstream {
    fn open(
        gateway: &GatewayBuilder<'_>,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<Self, String> {
        gateway.upstream(name, config)
    }
}

impl Transport for grpc::Upstream {
    fn open(
        gateway: &GatewayBuilder<'_>,
        name: &'static str,
        config: &outbound::Config,
    ) -> Result<Self, String> {
        gateway.grpc_upstream(name, config)
    }
}

/// A backend that no screen calls: only proxy routes use it.
#[derive(Clone, Copy, Debug)]
pub struct ProxyOnly;

impl UpstreamClient for ProxyOnly {
    type Upstream = outbound::Upstream;

    fn new(_: outbound::Upstream) -> Self {
        Self
    }
}

/// A part of the state that is not a backend, with a table `[screens.<its name>]` of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a part of a gateway",
    note = "a client of a backend belongs in the struct, before `with`"
)]
pub trait GatewayPart: Sized {
    /// Its table; [`NoConfig`] if it has none.
    type Config: Clone + Debug + Default + DeserializeOwned + Serialize + Send + Sync;

    /// Builds it. The error is one line.
    fn open(gateway: &GatewayBuilder<'_>, config: &Self::Config) -> Result<Self, String>;
}

/// The configuration of a part without keys.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl GatewayPart for IdempotentWrites {
    type Config = NoConfig;

    fn open(gateway: &GatewayBuilder<'_>, _: &NoConfig) -> Result<Self, String> {
        Ok(gateway.writes())
    }
}

impl GatewayPart for Completion {
    type Config = NoConfig;

    fn open(gateway: &GatewayBuilder<'_>, _: &NoConfig) -> Result<Self, String> {
        Ok(gateway.completion())
    }
}

/// Builds the client of one backend.
pub fn open_upstream<C: UpstreamClient>(
    gateway: &GatewayBuilder<'_>,
    name: &'static str,
    config: &outbound::Config,
) -> Result<C, String> {
    Transport::open(gateway, name, config).map(C::new)
}

/// Whether a table has no keys at all, so that it is not printed.
pub fn has_no_keys<T>(_: &T) -> bool {
    size_of::<T>() == 0
}

/// Declares a gateway's backends. The name of a field is the name of its table in `[upstreams]` and of its metrics label.
///
/// ```ignore
/// bff_core::upstreams! {
///     /// The backends of this gateway.
///     pub struct Upstreams {
///         product: ProductClient,
///         playback: PlaybackClient, // over gRPC
///         auth: ProxyOnly,          // no screen calls it
///     }
///     with { writes: IdempotentWrites }
/// }
/// ```
///
/// The package needs the dependency `serde`.
#[macro_export]
macro_rules! upstreams {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$about:meta])* $field:ident : $client:ty),+ $(,)?
        }
        $(with { $($(#[$part_about:meta])* $part:ident : $kind:ty),+ $(,)? })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $(
                $(#[$about])*
                #[doc = concat!("The backend `", stringify!($field), "`.")]
                $vis $field: $client,
            )+
            $($(
                $(#[$part_about])*
                #[doc = concat!("The part `", stringify!($part), "`.")]
                $vis $part: $kind,
            )+)?
        }

        const _: () = {
            use $crate::gateway::{GatewayPart, GatewayState, has_no_keys, open_upstream};
            use $crate::server::GatewayBuilder;

            /// The table `[upstreams]`.
            #[derive(Clone, Debug, ::serde::Deserialize, ::serde::Serialize)]
            #[serde(deny_unknown_fields)]
            pub struct Config {
                $($field: $crate::outbound::Config,)+
            }

            /// The table `[screens]`.
            #[derive(Clone, Debug, Default, ::serde::Deserialize, ::serde::Serialize)]
            #[serde(default, deny_unknown_fields)]
            pub struct Screens {
                $($(
                    #[serde(skip_serializing_if = "has_no_keys")]
                    $part: <$kind as GatewayPart>::Config,
                )+)?
            }

            impl GatewayState for $name {
                type Config = Config;
                type Screens = Screens;

                fn open(
                    gateway: &GatewayBuilder<'_>,
                    upstreams: &Config,
                    screens: &Screens,
                ) -> ::std::result::Result<Self, ::std::string::String> {
                    let _ = screens;
                    ::std::result::Result::Ok(Self {
                        $($field: open_upstream(gateway, stringify!($field), &upstreams.$field)?,)+
                        $($($part: <$kind as GatewayPart>::open(gateway, &screens.$part)?,)+)?
                    })
                }
            }
        };
    };
}
