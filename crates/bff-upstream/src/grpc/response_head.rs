//! Prepares the head and the trailers of a response, so that tonic finds its status.
//!
//! tonic panics at details that are not base64, and reports a message that is not UTF-8 as the status `UNKNOWN`. It reads
//! the body of an HTTP error, such as a proxy's page, as a message. The status counts in each of these cases.

use http::{HeaderMap, HeaderName, Response, StatusCode};
use percent_encoding::percent_decode;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Prepares the head. An HTTP error without a gRPC status loses its body, and tonic maps its HTTP status.
pub(super) fn prepare(mut response: Response<Body>) -> Response<Body> {
    remove_invalid_fields(response.headers_mut());
    let is_grpc = response.status() == StatusCode::OK || response.headers().contains_key(STATUS);
    if is_grpc {
        response
    } else {
        response.map(|_| Body::empty())
    }
}

/// Removes a message and details that cannot be decoded. They only describe the status.
pub(super) fn remove_invalid_fields(headers: &mut HeaderMap) {
    let message = headers.get(MESSAGE);
    if message.is_some_and(|m| percent_decode(m.as_bytes()).decode_utf8().is_err()) {
        headers.remove(MESSAGE);
    }
    let Some(details) = headers.get(Status::GRPC_STATUS_DETAILS) else {
        return;
    };
    let mut one = HeaderMap::new();
    one.insert(Status::GRPC_STATUS_DETAILS, details.clone());
    let one = MetadataMap::from_headers(one);
    let details = one.get_bin(Status::GRPC_STATUS_DETAILS.as_str());
    if details.is_none_or(|details| details.to_bytes().is_err()) {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::BodyExt;
    use tonic::Code;

    use super::*;

    fn response(status: u16, fields: &[(&'static str, &[u8])]) -> Response<Body> {
        let mut response = Response::new(Body::new("<html>".to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value).unwrap();
            response.headers_mut().insert(*name, value);
        }
        response
    }

    #[test]
    fn the_status_counts_whatever_else_is_invalid() {
        for details in [&b"!!!"[..], b"A", b"=", b"\xff", b"CAUSAA", b"CAUSAA=="] {
            for message in [&b"%FF"[..], b"\xff", b"%", b"not there"] {
                let fields = [
                    ("grpc-status", &b"5"[..]),
                    ("grpc-status-details-bin", details),
                    ("grpc-message", message),
                ];
                let head = prepare(response(200, &fields));
                let status = Status::from_header_map(head.headers()).unwrap();
                assert_eq!(status.code(), Code::NotFound, "{fields:?}");
            }
        }
        let fields = [("grpc-status", &b"5"[..]), ("grpc-message", b"not%20there")];
        let head = prepare(response(200, &fields));
        let status = Status::from_header_map(head.headers()).unwrap();
        assert_eq!(status.message(), "not there");
    }

    #[tokio::test]
    async fn the_body_of_an_http_error_is_no_message() {
        let length = async |response: Response<Body>| {
            let body = prepare(response).into_body().collect().await.unwrap();
            body.to_bytes().len()
        };
        assert_eq!(length(response(503, &[])).await, 0);
        assert_eq!(length(response(200, &[])).await, 6);
        assert_eq!(length(response(503, &[("grpc-status", b"14")])).await, 6);
    }
}
