//! CORS with exact origins (Fetch standard, CORS protocol).

use std::convert::Infallible;
use std::future::{Future, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::inbound::Config;

/// The response headers that a page may read.
const EXPOSED: [&str; 11] = [
    "sections",
    "x-request-id",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
    "x-cache",
    "etag",
    "server-timing",
];

/// The request headers that a page may send.
const ALLOWED: [&str; 12] = [
    "accept",
    "accept-language",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-none-match",
    "priority",
    "request-timeout",
    "traceparent",
    "x-api-version",
    "x-app",
    "x-request-id",
];

/// The CORS layer. `None` if no origin is allowed. The error is one line that names the key.
pub(in crate::inbound) fn layer(config: &Config) -> Result<Option<CorsLayer>, String> {
    if config.cors_origins.is_empty() {
        return Ok(None);
    }
    let origins: Result<Vec<HeaderValue>, String> =
        config.cors_origins.iter().map(|o| origin(o)).collect();
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    Ok(Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins?))
            .allow_credentials(config.cors_credentials)
            .allow_methods(methods)
            .allow_headers(AllowHeaders::list(ALLOWED.map(HeaderName::from_static)))
            .expose_headers(ExposeHeaders::list(EXPOSED.map(HeaderName::from_static)))
            .max_age(Duration::from_secs(3600)),
    ))
}

/// Answers a preflight request, or calls `inner` and adds the CORS headers.
pub(in crate::inbound) async fn apply<F>(
    layer: Option<&CorsLayer>,
    request: Request,
    mut inner: impl FnMut(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let Some(layer) = layer else {
        return inner(request).await;
    };
    let headers = request.headers();
    let is_preflight = headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !is_preflight {
        let headers = headers.clone();
        let response = inner(request).await;
        return Box::pin(add_headers(Some(layer), &headers, response)).await;
    }
    let inner = service_fn(|request| inner(request).map(Ok::<_, Infallible>));
    // Boxed, so that this future does not include the inner one twice.
    let response = Box::pin(layer.layer(inner).oneshot(request)).await;
    response.unwrap_or_else(|never| match never {})
}

/// Adds the CORS headers to a response that was made without [`apply`].
pub(in crate::inbound) async fn add_headers(
    layer: Option<&CorsLayer>,
    request_headers: &HeaderMap,
    response: Response,
) -> Response {
    // Not a preflight request, which the layer would answer itself.
    let mut origin = Request::new(Body::empty());
    if let Some(value) = request_headers.get(header::ORIGIN) {
        origin.headers_mut().insert(header::ORIGIN, value.clone());
    }
    let mut response = Some(response);
    let take = |_| ready(response.take().unwrap_or_default());
    apply(layer, origin, take).await
}

/// Parses `scheme://host[:port]`. Browsers send it in lower case and without the scheme's default port (RFC 6454 §6.1).
fn origin(text: &str) -> Result<HeaderValue, String> {
    let error =
        || format!("inbound.cors_origins: {text:?} is not an origin such as https://shop.example");
    let (scheme, rest) = text.split_once("://").ok_or_else(error)?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(&*scheme, "http" | "https")
        || rest.is_empty()
        || rest.contains(['/', '*', '?', '#', '@'])
    {
        return Err(error());
    }
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let origin = text.strip_suffix(default_port).unwrap_or(text);
    HeaderValue::from_str(&origin.to_ascii_lowercase()).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_origins_are_accepted() {
        for (text, sent) in [
            ("https://shop.example:8443", "https://shop.example:8443"),
            ("HTTPS://Shop.Example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:80", "http://shop.example"),
            ("http://shop.example:443", "http://shop.example:443"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(origin(text).unwrap(), sent);
        }
        for bad in [
            "*",
            "https://*.example",
            "shop.example",
            "https://a/",
            "ftp://a",
            "https://",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
