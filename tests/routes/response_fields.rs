//! The fields of a backend's response in all forms of their grammar, behind a cached proxy route.

use axum::Router;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpListener;

use super::echo;

/// The fields of one response.
type Fields = &'static [(&'static str, &'static str)];

/// Fields, and whether an equal second request is answered from the cache.
const RESPONSES: [(Fields, bool); 21] = [
    (&[("cache-control", "max-age=60")], true),
    (&[("cache-control", "Public,, MAX-AGE=\"60\"")], true),
    (
        &[("cache-control", "public"), ("cache-control", "max-age=60")],
        true,
    ),
    (
        &[("cache-control", "ext=\"a, no-store\", max-age=60")],
        true,
    ),
    (&[("cache-control", "ext=\"a, max-age=60\"")], false),
    (&[("cache-control", "max-age=99999999999999999999")], true),
    (&[("cache-control", "max-age=+60")], false),
    (&[("cache-control", "max-age=60.0")], false),
    (&[("cache-control", "max-age")], false),
    (&[("cache-control", "private=\"a, b\", max-age=60")], false),
    (
        &[
            ("cache-control", "max-age=60"),
            ("cache-control", "NO-STORE"),
        ],
        false,
    ),
    (&[("cache-control", "max-age=60"), ("age", "10, 90")], true),
    (&[("cache-control", "max-age=60"), ("age", "90, 10")], false),
    (&[("cache-control", "max-age=60"), ("age", "-90")], true),
    (
        &[
            ("cache-control", "max-age=60"),
            ("age", "99999999999999999999"),
        ],
        false,
    ),
    (&[("expires", "Friday, 01-Jan-55 00:00:00 GMT")], true),
    (&[("expires", "Fri Jan  1 00:00:00 2055")], true),
    (&[("expires", "0")], false),
    (&[("expires", "2055-01-01T00:00:00Z")], false),
    (
        &[("cache-control", "max-age=60"), ("vary", "accept, ,x-a")],
        true,
    ),
    (
        &[
            ("cache-control", "max-age=60"),
            ("vary", "accept"),
            ("vary", "*"),
        ],
        false,
    ),
];

async fn respond(Path(row): Path<usize>) -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in RESPONSES[row].0 {
        let (name, value) = (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        headers.append(name, value);
    }
    (headers, "text")
}

#[tokio::test]
async fn the_cache_reads_every_form_of_a_field() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = Router::new().route("/{row}", get(respond));
    tokio::spawn(async move { axum::serve(listener, service).await });
    let upstream = format!("url = \"{url}\"");
    let route = "cache = true\n[cache]\nmax_bytes = 1000000\n";
    let fleet = echo::start_with_upstream(&upstream, route).await;
    for (row, (fields, is_cached)) in RESPONSES.into_iter().enumerate() {
        let path = format!("/echo/{row}");
        let first = fleet.get("web", &path).await;
        assert_eq!(first.status, 200);
        let second = fleet.get("web", &path).await;
        let is_hit = second.header("x-cache") == "HIT";
        assert_eq!(is_hit, is_cached, "{fields:?}: {:?}", second.headers);
    }
}
