//! The endpoints that every gateway has: health, the OpenAPI document, and a page for each error code.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::app::Contract;
use super::readiness::Readiness;
use crate::error::{Code, Error, codes};

/// Content-Security-Policy of the error pages: no scripts, one inline style.
const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// `/health`, `/openapi.json` and `/errors/{code}`. `domain_codes` are the gateway's own error codes.
pub(super) fn router(
    readiness: Readiness,
    contract: Contract,
    domain_codes: &'static [Code],
) -> Router {
    Router::new()
        .route("/health", get(move || health(readiness.clone())))
        .route("/openapi.json", get(move || openapi(contract.clone())))
        .route(
            "/errors/{code}",
            get(move |code: Path<String>| error_page(code.0, domain_codes)),
        )
}

async fn health(readiness: Readiness) -> Response {
    let (status, body) = if readiness.is_ready() {
        (StatusCode::OK, r#"{"status":"ok"}"#)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#)
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body).into_response()
}

async fn openapi(contract: Contract) -> Result<Response, Error> {
    let json = contract.json().map_err(|cause| {
        Error::new(codes::INTERNAL, "The contract cannot be written.").with_cause(cause)
    })?;
    let json = json.to_owned();
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

async fn error_page(name: String, domain_codes: &'static [Code]) -> Result<Response, Error> {
    let code = codes::ALL
        .iter()
        .chain(domain_codes)
        .find(|code| code.name() == name);
    let code = code.ok_or_else(|| Error::new(codes::NOT_FOUND, "Unknown error code."))?;
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\
         <style>body{{font:16px/1.5 sans-serif;max-width:40em;margin:3em auto}}</style>\
         <h1>{title}</h1><p><code>{name}</code>, status {status}</p><p>{meaning}</p><p>{remedy}</p></html>",
        title = code.title(),
        status = code.status().as_u16(),
        meaning = code.meaning(),
        remedy = code.remedy(),
    );
    let mut response = axum::response::Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CSP),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    Ok(response)
}
