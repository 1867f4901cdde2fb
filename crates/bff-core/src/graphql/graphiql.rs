//! GraphiQL for development: every byte of it is compiled in, so it works offline and asks nobody.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, header};

/// Scripts only from our own files. Styles may be inline: the editor sets them on what it draws.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    font-src data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($kind:ident $path:literal $file:literal) => {
        (
            $path,
            $kind,
            include_str!(concat!("../../assets/graphiql/", $file)),
        )
    };
}

/// Where, of which type, and what.
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
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(path, get(move || async move { file(kind, text) }))
        })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        // Revalidated always: the files change with the binary and their names do not.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}
