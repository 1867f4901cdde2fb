//! HTTP requests without a client library, for processes that may end before they respond.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any response takes on a busy machine. Only a failure reaches it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends one request over HTTP/1.0, where the body ends with the connection. Returns the status and the body.
pub fn request(method: &str, url: &str, headers: &[String], body: &str) -> (u16, String) {
    try_request(method, url, headers, body).unwrap()
}

/// Sends one request to a process that may end before it responds.
pub fn try_request(
    method: &str,
    url: &str,
    headers: &[String],
    body: &str,
) -> io::Result<(u16, String)> {
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let framing = [
        format!("Host: {host}"),
        format!("Content-Length: {}", body.len()),
    ];
    let head = [headers, &framing].concat().join("\r\n");
    write!(stream, "{method} /{path} HTTP/1.0\r\n{head}\r\n\r\n{body}")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let parts = response.split_once("\r\n\r\n");
    let (head, body) = parts.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap();
    Ok((status.parse().unwrap(), body.to_owned()))
}

/// Whether a process accepts connections at `host:port`.
pub fn is_listening(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}
