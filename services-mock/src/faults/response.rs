//! The responses of a failing backend, one for each kind of failure.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::{Failure, Mode, gzip_bomb};
use crate::response::Problem;

/// An empty gRPC message, which every message type decodes.
const EMPTY_MESSAGE: &[u8] = &[0, 0, 0, 0, 0];
/// A gRPC message that no message type decodes: it contains a length past its end.
const BROKEN_MESSAGE: &[u8] = &[0, 0, 0, 0, 3, 0x0a, 0x7f, 0x00];
/// A gRPC message with a length of 100 bytes and only five bytes.
const HALF_MESSAGE: &[u8] = &[0, 0, 0, 0, 100, 0x0a, 3, b'p', b'-', b'1'];
/// The first half of a JSON body.
const HALF_JSON: &[u8] = br#"{"items":[{"id":"p-1","name":"The Quiet Har"#;

/// The response for a failure; `None` for `Hang` and `Reset`, which the caller handles.
pub(crate) fn response(failure: Failure, grpc: bool) -> Option<Response> {
    let response = match failure {
        Failure::Status(status) if grpc => grpc_status(status),
        Failure::Status(status) => http_status(status),
        Failure::Mode(Mode::Hang | Mode::Reset) => return None,
        Failure::Mode(Mode::Truncate) => truncated(grpc),
        Failure::Mode(Mode::Malformed) if grpc => with_body(grpc, Body::from(BROKEN_MESSAGE)),
        Failure::Mode(Mode::Malformed) => with_body(grpc, Body::from(HALF_JSON)),
        Failure::Mode(Mode::Endless) => with_body(grpc, endless(grpc)),
        Failure::Mode(Mode::GzipBomb) => gzip_bomb(grpc),
    };
    Some(response)
}

fn http_status(status: StatusCode) -> Response {
    let mut response = Problem::new(status, "fault", "injected fault").into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Maps the status to the nearest code, by the HTTP mapping in google.rpc.Code.
fn grpc_status(status: StatusCode) -> Response {
    let code = match status.as_u16() {
        400 => tonic::Code::InvalidArgument,
        401 => tonic::Code::Unauthenticated,
        403 => tonic::Code::PermissionDenied,
        404 => tonic::Code::NotFound,
        409 => tonic::Code::Aborted,
        429 => tonic::Code::ResourceExhausted,
        499 => tonic::Code::Cancelled,
        500 => tonic::Code::Internal,
        501 => tonic::Code::Unimplemented,
        503 => tonic::Code::Unavailable,
        504 => tonic::Code::DeadlineExceeded,
        _ => tonic::Code::Unknown,
    };
    tonic::Status::new(code, "injected fault").into_http()
}

fn with_body(grpc: bool, body: Body) -> Response {
    let content_type = if grpc {
        "application/grpc"
    } else {
        "application/json"
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The pause before the error lets the server send the first half.
fn truncated(grpc: bool) -> Response {
    let half = Bytes::from_static(if grpc { HALF_MESSAGE } else { HALF_JSON });
    let content_length = half.len() * 2;
    let end = stream::once(async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    });
    let body = stream::once(async move { Ok(half) }).chain(end);
    let mut response = with_body(grpc, Body::from_stream(body));
    if !grpc {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(content_length));
    }
    response
}

/// Sends as fast as the client reads. The pauses let a paused clock advance, so that the client's deadline is also
/// reached in a simulation.
fn endless(grpc: bool) -> Body {
    let chunk = if grpc {
        Bytes::from(EMPTY_MESSAGE.repeat(1600))
    } else {
        Bytes::from(b"{\"items\":[],".repeat(700))
    };
    let chunks = stream::unfold(0_u64, move |sent| {
        let chunk = chunk.clone();
        async move {
            if sent % 4 == 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Some((Ok::<_, Infallible>(chunk), sent + 1))
        }
    });
    Body::from_stream(chunks)
}

fn gzip_bomb(grpc: bool) -> Response {
    if grpc {
        let mut response = with_body(grpc, Body::from(gzip_bomb::grpc_message()));
        response
            .headers_mut()
            .insert("grpc-encoding", HeaderValue::from_static("gzip"));
        return response;
    }
    let mut response = with_body(grpc, Body::from(gzip_bomb::gzip()));
    response
        .headers_mut()
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}
