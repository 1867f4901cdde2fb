//! The accept loop over real sockets: responses, resets, shutdown.

use super::*;
use crate::{Fault, Mode, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const REQUEST: &[u8] = b"GET /categories HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\r\n";

#[expect(clippy::disallowed_methods, reason = "the test needs a real socket")]
async fn get_over_tcp(address: std::net::SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(REQUEST).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_listener_serves_resets_and_stops() {
    let mocks = mocks();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stop_signal = async { drop(stopped.await) };
    let serving = tokio::spawn(serve(
        mocks.clone(),
        Backend::Product,
        listener,
        stop_signal,
    ));

    let text = get_over_tcp(address).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK") && text.contains("Science Fiction"),
        "{text}"
    );
    mocks
        .set_fault(Backend::Product, Fault::mode(Mode::Reset))
        .unwrap();
    let reset = get_over_tcp(address).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);

    stop.send(()).unwrap();
    serving.await.unwrap();
    assert!(get_over_tcp(address).await.is_err());
}
