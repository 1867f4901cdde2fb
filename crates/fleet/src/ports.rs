//! The ports of the fleet.

use std::net::{Ipv4Addr, SocketAddr};

use bff_core::server::cannot_listen;
use services_mock::Backend;
use tokio::net::TcpListener;

/// The ports of the fleet, always on loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ports {
    /// The documented ports: gateways from 8080, admin ports from 9080, mocks at their default ports, control at 3999.
    #[default]
    Documented,
    /// Ports above a base N: gateways from N, admin ports from N+10, mocks from N+20, control at N+39.
    Above(u16),
    /// Free ports, for tests.
    Free,
}

impl Ports {
    /// The public port of the gateway with this number in the list.
    pub fn public(self, number: u16) -> Result<u16, String> {
        self.select(8080 + number, number)
    }

    /// The admin port of the gateway with this number in the list.
    pub fn admin(self, number: u16) -> Result<u16, String> {
        self.select(9080 + number, 10 + number)
    }

    /// The port of a mock.
    pub fn backend(self, backend: Backend) -> Result<u16, String> {
        let index = u16::try_from(backend.index()).unwrap_or_default();
        self.select(backend.port(), 20 + index)
    }

    /// The control port of the mocks.
    pub fn control(self) -> Result<u16, String> {
        self.select(3999, 39)
    }

    fn select(self, documented: u16, offset: u16) -> Result<u16, String> {
        match self {
            Self::Documented => Ok(documented),
            Self::Free => Ok(0),
            Self::Above(base) => base
                .checked_add(offset)
                .filter(|_| base > 0)
                .ok_or_else(|| format!("base port {base}: must be 1 to {}", u16::MAX - 39)),
        }
    }
}

/// Binds `port` on loopback. Returns the listener and its address.
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
    fn a_base_port_moves_all_ports() {
        let ports = Ports::Above(20_000);
        assert_eq!(ports.public(3), Ok(20_003));
        assert_eq!(ports.admin(3), Ok(20_013));
        assert_eq!(ports.backend(Backend::Playback), Ok(20_027));
        assert_eq!(ports.control(), Ok(20_039));
        assert!(Ports::Above(65_500).control().is_err());
        assert!(Ports::Above(0).public(0).is_err());
    }

    #[tokio::test]
    async fn an_unavailable_port_is_a_one_line_error() {
        let (_listener, address) = bind(0).await.unwrap();
        let line = bind(address.port()).await.unwrap_err();
        assert_eq!(
            line,
            format!("cannot listen on {address}: the address is already in use")
        );
    }
}
