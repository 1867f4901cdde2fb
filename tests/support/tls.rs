//! Backends behind TLS, with a certificate of a private certificate authority. `tests/tls/` holds certificates for
//! 127.0.0.1 that only tests use.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::root;

/// The path of the certificate authority's certificate.
pub(crate) fn ca_file() -> PathBuf {
    root().join("tests/tls/ca.pem")
}

/// Starts a TLS listener that offers HTTP/2 and HTTP/1.1 by ALPN, and calls `serve` with each connection. Returns its
/// URL.
pub(crate) async fn start_server<F>(
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> String
where
    F: Future<Output = ()> + Send,
{
    bff_core::auth::install_crypto();
    let file = |name: &str| root().join("tests/tls").join(name);
    let chain = CertificateDer::from_pem_file(file("backend.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("backend.key")).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (acceptor, serve) = (TlsAcceptor::from(Arc::new(config)), Arc::new(serve));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            tokio::spawn(async move {
                if let Ok(tls) = acceptor.accept(socket).await {
                    serve(tls).await;
                }
            });
        }
    });
    url
}
