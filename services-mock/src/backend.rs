//! The backends, with their names and default ports.

use std::fmt;
use std::str::FromStr;

/// One of the eight mocked backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// The identity provider: keys, tokens, userinfo.
    Auth,
    /// Profiles, preferences, addresses, friends.
    User,
    /// The catalogue: products, categories, collections, search.
    Product,
    /// Carts and orders.
    Order,
    /// Payments.
    Payment,
    /// Reviews and ratings.
    Review,
    /// Offers and stock per region.
    Inventory,
    /// Manifests and positions, over gRPC.
    Playback,
}

impl Backend {
    /// All backends, in the order of their ports.
    pub const ALL: [Self; 8] = [
        Self::Auth,
        Self::User,
        Self::Product,
        Self::Order,
        Self::Payment,
        Self::Review,
        Self::Inventory,
        Self::Playback,
    ];

    /// The name in configuration, on the control port and in compose files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::User => "user",
            Self::Product => "product",
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Review => "review",
            Self::Inventory => "inventory",
            Self::Playback => "playback",
        }
    }

    /// The default TCP port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Auth => 3000,
            Self::User => 3001,
            Self::Product => 3002,
            Self::Order => 3003,
            Self::Payment => 3004,
            Self::Review => 3005,
            Self::Inventory => 3006,
            Self::Playback => 50051,
        }
    }

    /// The index in [`Backend::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it speaks gRPC instead of JSON over HTTP.
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::Playback)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBackend(String);

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Backend::ALL.map(Backend::name).join(", ");
        write!(f, "unknown backend `{}`; one of: {names}", self.0)
    }
}

impl std::error::Error for UnknownBackend {}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|b| b.name() == text);
        found.ok_or_else(|| UnknownBackend(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_indices_match() {
        for (i, backend) in Backend::ALL.into_iter().enumerate() {
            assert_eq!(backend.name().parse::<Backend>().unwrap(), backend);
            assert_eq!(backend.index(), i);
        }
        assert!("reviews".parse::<Backend>().is_err());
    }
}
