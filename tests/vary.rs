//! A response that caches may share names in `Vary` every request field on which it depends (RFC 9110 §12.5.5).

use fleet::Callers;
use http::HeaderMap;

use crate::screens::all_screens;
use crate::support::{TestFleet, send};

/// Request fields with two values each. `None` is a request without the field.
const PAIRS: [(&str, Option<&str>, &str); 26] = [
    ("accept", Some("application/json"), "text/event-stream"),
    ("accept", None, "text/html"),
    ("accept-encoding", Some("identity"), "gzip"),
    ("accept-encoding", Some("br"), "zstd"),
    ("accept-encoding", Some("gzip"), "identity;q=0, *;q=0"),
    ("accept-language", Some("en"), "de"),
    ("accept-language", None, "de-AT, fr;q=0.5"),
    ("cookie", None, "session=1; lang=de"),
    ("dpr", None, "2"),
    (
        "forwarded",
        None,
        "for=192.0.2.1;proto=https;host=x.example",
    ),
    ("origin", Some("https://a.example"), "https://b.example"),
    ("origin", None, "https://a.example"),
    ("origin", Some("https://a.example"), "https://evil.example"),
    ("prefer", None, "return=minimal"),
    ("priority", Some("u=1"), "u=5"),
    ("referer", None, "https://a.example/"),
    ("save-data", None, "on"),
    ("sec-ch-ua-mobile", Some("?0"), "?1"),
    ("sec-fetch-site", Some("same-origin"), "cross-site"),
    (
        "traceparent",
        None,
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("user-agent", Some("a/1"), "b/2"),
    ("x-api-version", None, "v1"),
    ("x-app", Some("ios/3.2.1"), "tizen/1.9.0"),
    ("x-forwarded-for", None, "192.0.2.1"),
    ("x-forwarded-proto", Some("http"), "https"),
    ("x-user-id", None, "ada"),
];

/// Response fields that describe this one message or the caller's quota, and not the content.
const PER_MESSAGE: [&str; 11] = [
    "age",
    "cache-status",
    "x-cache",
    "date",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
    "content-length",
];

#[derive(PartialEq)]
struct Representation {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Representation {
    /// Sends a GET with one field more.
    async fn get(
        fleet: &TestFleet,
        url: &str,
        credential: Option<&(&str, String)>,
        (name, value): (&str, Option<&str>),
    ) -> Self {
        let mut request = fleet.http.get(url);
        if let Some((name, value)) = credential {
            request = request.header(*name, value);
        }
        if let Some(value) = value {
            request = request.header(name, value);
        }
        let response = send(request).await;
        let (status, mut headers) = (response.status().as_u16(), response.headers().clone());
        for name in PER_MESSAGE {
            headers.remove(name);
        }
        let body = response.bytes().await.unwrap().to_vec();
        Self {
            status,
            headers,
            body,
        }
    }

    fn is_public(&self) -> bool {
        let control = self.headers.get("cache-control");
        control.is_some_and(|control| control.to_str().unwrap().contains("public"))
    }

    fn varies_by(&self, field: &str) -> bool {
        let vary = self.headers.get("vary").map(|vary| vary.to_str().unwrap());
        vary.is_some_and(|vary| vary.split(", ").any(|name| name == field))
    }
}

#[tokio::test]
async fn a_public_response_names_every_field_on_which_it_depends() {
    let fleet = TestFleet::start_with(|fleet| {
        for gateway in fleet::GATEWAYS {
            let overlay =
                "[inbound]\ncors_origins = [\"https://a.example\", \"https://b.example\"]\n";
            (fleet.overlays).insert(gateway.name.to_owned(), overlay.to_owned());
        }
    })
    .await;
    let screens = all_screens()
        .iter()
        .filter(|screen| screen.document.is_none());
    let screens = screens.map(|screen| (screen.gateway, screen.path.as_str(), screen.callers()));
    let others = [
        ("web", "/errors/not_found", Callers::People),
        ("web", "/openapi.json", Callers::People),
        ("web", "/health", Callers::People),
        ("web", "/api/products/p-1", Callers::People),
        ("web", "/api/categories", Callers::People),
        (
            "web",
            "/api/product-details/p-1?fields=product",
            Callers::People,
        ),
    ];
    let bearer = fleet.bearer("ada");
    let mut public = 0;
    for (gateway, path, callers) in screens.chain(others) {
        let url = format!("{}{path}", fleet.running.url(gateway));
        let key =
            (callers == Callers::Partners).then(|| ("x-api-key", fleet::PARTNER_KEY.to_owned()));
        let sign_in = ("authorization", None, bearer.as_str());
        let sign_in = (callers == Callers::People).then_some(sign_in);
        for (field, first, second) in PAIRS.into_iter().chain(sign_in) {
            let get = |value| Representation::get(&fleet, &url, key.as_ref(), (field, value));
            let (one, two) = (get(first).await, get(Some(second)).await);
            public += u32::from(one.is_public());
            // An error is no representation: a cache may return what it has.
            let is_error = [one.status, two.status] != [200; 2];
            // Some content depends on the time.
            if is_error || one == two || one != get(first).await {
                continue;
            }
            for (response, which) in [(&one, "first"), (&two, "second")] {
                assert!(
                    !response.is_public() || response.varies_by(field),
                    "{gateway} {path}: the {which} response for {field}: {:?}",
                    response.headers
                );
            }
        }
    }
    assert!(public > 0);
}

#[tokio::test]
async fn no_response_claims_a_language() {
    let fleet = TestFleet::start().await;
    for path in [
        "/api/product-details/p-1",
        "/api/product-details/p-999999",
        "/nowhere",
    ] {
        let page = fleet
            .get_with("web", path, &[("accept-language", "de")])
            .await;
        assert!(!page.headers.contains_key("content-language"), "{path}");
        let vary = page.headers.get("vary").map(|vary| vary.to_str().unwrap());
        assert!(
            !vary.unwrap_or_default().contains("accept-language"),
            "{path}"
        );
    }
}
