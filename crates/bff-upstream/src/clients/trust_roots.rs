//! Trust roots: the CA certificates that verify a backend's certificate.

use std::path::Path;
use std::sync::Arc;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_rustls::builderstates::WantsSchemes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Installs the TLS provider of this process. Every `main` and every test calls it first. Further calls have no effect.
pub fn install_tls_provider() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The CA certificates of a file, or the public ones.
#[derive(Clone, Debug)]
pub(crate) struct TrustRoots(Option<Arc<RootCertStore>>);

impl TrustRoots {
    /// The public trust roots.
    pub(crate) const PUBLIC: Self = Self(None);

    /// Reads the trust roots from a PEM file, or takes the public ones.
    ///
    /// # Errors
    /// One line that begins with the configuration key.
    pub(crate) fn open(ca_file: Option<&Path>) -> Result<Self, String> {
        let Some(path) = ca_file else {
            return Ok(Self::PUBLIC);
        };
        let invalid = |why: String| format!("ca_file: {}: {why}", path.display());
        let mut roots = RootCertStore::empty();
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|e| invalid(e.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| invalid(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(invalid("the file contains no certificate".to_owned()));
        }
        Ok(Self(Some(Arc::new(roots))))
    }

    /// A builder for a connector with these trust roots.
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
