//! The GraphiQL editor for development. All its files are in the binary, so it needs no network.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, header};

/// Content-Security-Policy: scripts only from our own files. The editor sets inline styles, so these are allowed.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    font-src data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($content_type:ident $path:literal $file:literal) => {
        (
            $path,
            $content_type,
            include_str!(concat!("../../assets/graphiql/", $file)),
        )
    };
}

/// Path, Content-Type and content of each file.
const FILES: [(&str, &str, &str); 7] = [
    asset!(HTML "/graphiql" "index.html"),
    asset!(CSS "/graphiql/start.css" "start.css"),
    asset!(JS "/graphiql/start.js" "start.js"),
    asset!(CSS "/graphiql/graphiql.min.css" "graphiql.min.css"),
    asset!(JS "/graphiql/graphiql.min.js" "graphiql.min.js"),
    asset!(JS "/graphiql/react.production.min.js" "react.production.min.js"),
    asset!(JS "/graphiql/react-dom.production.min.js" "react-dom.production.min.js"),
];

/// `GET /graphiql` and the files it loads.
pub(super) fn routes() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, text)| {
            router.route(
                path,
                get(move || async move { file_response(content_type, text) }),
            )
        })
}

fn file_response(content_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CSP),
        ),
        // The browser must revalidate: the files change with the binary, their names do not.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}
