//! Which port is whose, and binding them.

use std::net::{Ipv4Addr, SocketAddr};

use bff_core::server::cannot_listen;
use services_mock::Backend;
use tokio::net::TcpListener;

/// Where the fleet listens, always on loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ports {
    /// Gateways from 8080, their admin ports from 9080, each mock at its own, control at 3999.
    #[default]
    Documented,
    /// Gateways from N, their admin ports from N+10, mocks from N+20, control at N+39.
    Above(u16),
    /// Whatever is free, for tests.
    Free,
}

impl Ports {
    /// The port of the gateway at `place`.
    pub fn public(self, place: u16) -> Result<u16, String> {
        self.at(8080 + place, place)
    }

    /// Its admin port.
    pub fn admin(self, place: u16) -> Result<u16, String> {
        self.at(9080 + place, 10 + place)
    }

    /// The port of a mock.
    pub fn backend(self, backend: Backend) -> Result<u16, String> {
        let place = u16::try_from(backend.index()).unwrap_or_default();
        self.at(backend.port(), 20 + place)
    }

    /// The port that controls the mocks.
    pub fn control(self) -> Result<u16, String> {
        self.at(3999, 39)
    }

    fn at(self, documented: u16, above: u16) -> Result<u16, String> {
        match self {
            Self::Documented => Ok(documented),
            Self::Free => Ok(0),
            Self::Above(base) => base
                .checked_add(above)
                .filter(|_| base > 0)
                .ok_or_else(|| format!("base port {base}: it is 1 to {}", u16::MAX - 39)),
        }
    }
}

/// Binds `port` on loopback and says which port it became.
pub(crate) async fn bind(port: u16) -> Result<(TcpListener, SocketAddr), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|error| cannot_listen(address, &error))?;
    let bound = listener.local_addr();
    let address = bound.map_err(|error| cannot_listen(address, &error))?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_port_moves_everything() {
        let ports = Ports::Above(20_000);
        assert_eq!(ports.public(3), Ok(20_003));
        assert_eq!(ports.admin(3), Ok(20_013));
        assert_eq!(ports.backend(Backend::Playback), Ok(20_027));
        assert_eq!(ports.control(), Ok(20_039));
        assert!(Ports::Above(65_500).control().is_err());
        assert!(Ports::Above(0).public(0).is_err());
    }

    #[tokio::test]
    async fn a_taken_port_is_one_clear_line() {
        let (_held, address) = bind(0).await.unwrap();
        let line = bind(address.port()).await.unwrap_err();
        assert_eq!(
            line,
            format!("cannot listen on {address}: the address is already in use")
        );
    }
}
