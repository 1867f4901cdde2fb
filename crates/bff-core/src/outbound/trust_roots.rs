//! Whose certificates a backend may show.

use std::path::Path;
use std::sync::Arc;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_rustls::builderstates::WantsSchemes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The authorities that count: those of a file, or the public ones.
#[derive(Clone, Debug)]
pub(crate) struct TrustRoots(Option<Arc<RootCertStore>>);

impl TrustRoots {
    /// The public ones.
    pub(crate) const PUBLIC: Self = Self(None);

    /// Those of a PEM file, if there is one. The error is one line that begins with the key.
    pub(crate) fn open(ca_file: Option<&Path>) -> Result<Self, String> {
        let Some(path) = ca_file else {
            return Ok(Self::PUBLIC);
        };
        let wrong = |why: String| format!("ca_file: {}: {why}", path.display());
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
        for one in found {
            let one = one.map_err(|error| wrong(error.to_string()))?;
            roots.add(one).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("it holds no certificate".to_owned()));
        }
        Ok(Self(Some(Arc::new(roots))))
    }

    /// The beginning of a connector that trusts them.
    pub(crate) fn connector(&self) -> HttpsConnectorBuilder<WantsSchemes> {
        let builder = HttpsConnectorBuilder::new();
        match &self.0 {
            None => builder.with_webpki_roots(),
            Some(roots) => {
                let tls = ClientConfig::builder().with_root_certificates(roots.clone());
                builder.with_tls_config(tls.with_no_client_auth())
            }
        }
    }
}
