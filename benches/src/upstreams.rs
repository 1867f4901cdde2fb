//! The backends that a gateway calls.

use http::uri::Authority;

use crate::Result;

/// The addresses of the backends, as `host:port`.
#[derive(Clone, clap::Args)]
pub(crate) struct Upstreams {
    #[arg(long)]
    pub(crate) product: Authority,
    #[arg(long)]
    pub(crate) review: Authority,
    #[arg(long)]
    pub(crate) inventory: Authority,
}

impl Upstreams {
    /// Backends at three local ports.
    pub(crate) fn at(ports: &[u16]) -> Result<Self> {
        let &[product, review, inventory] = ports else {
            return Err(format!("three backends announced {} ports", ports.len()).into());
        };
        let authority = |port: u16| format!("127.0.0.1:{port}").parse::<Authority>();
        Ok(Self {
            product: authority(product)?,
            review: authority(review)?,
            inventory: authority(inventory)?,
        })
    }

    /// The command line arguments of a part.
    pub(crate) fn to_args(&self) -> Vec<String> {
        vec![
            format!("--product={}", self.product),
            format!("--review={}", self.review),
            format!("--inventory={}", self.inventory),
        ]
    }
}
