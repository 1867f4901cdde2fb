//! Screens enrol themselves: every operation of a committed contract whose answer carries `_meta`, and every
//! root field of a schema, becomes a request built from the contract's own examples.

use std::sync::LazyLock;

use bytes::Bytes;
use fleet::Callers;
use http::{HeaderMap, Request};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use services_mock::Mocks;

use crate::support::{Shop, file};

mod graphql;
mod rest;

/// A screen as its contract tells of it.
#[derive(Debug)]
pub(crate) struct Enrolled {
    pub(crate) gateway: &'static str,
    /// The operation's id, or the root field.
    pub(crate) operation: String,
    /// The path with its query, or where the document is posted.
    pub(crate) path: String,
    /// A GraphQL document that selects everything.
    pub(crate) document: Option<String>,
    /// The sections that the contract says are always there.
    pub(crate) required: Vec<String>,
}

/// One answer, whichever door it came through.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Why the screen failed.
    pub(crate) code: Option<String>,
    /// The screen's members.
    pub(crate) data: Value,
    /// Each section's entry by its name in the screen.
    pub(crate) sections: Map<String, Value>,
    /// The whole document.
    pub(crate) body: Value,
}

/// Every screen of every gateway.
pub(crate) fn enrolled() -> &'static [Enrolled] {
    static ALL: LazyLock<Vec<Enrolled>> = LazyLock::new(|| {
        let mut screens = Vec::new();
        let mut wrong = Vec::new();
        for gateway in fleet::GATEWAYS {
            let folder = format!("bffs/{}", gateway.name);
            let contract: Value =
                serde_json::from_str(&file(&format!("{folder}/openapi.json")).unwrap()).unwrap();
            let schema = file(&format!("{folder}/schema.graphql"));
            let fields = schema.map(|sdl| graphql::screens(gateway.name, &sdl, &contract));
            for found in [Some(rest::screens(gateway.name, &contract)), fields] {
                match found.unwrap_or(Ok(Vec::new())) {
                    Ok(found) => screens.extend(found),
                    Err(line) => wrong.push(line),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        screens
    });
    &ALL
}

impl Enrolled {
    /// Asks for the screen with the fullest credential: signed in, or with the partner's key.
    pub(crate) async fn ask(&self, shop: &Shop, headers: &[(&str, &str)]) -> Told {
        let credential = self.credential(shop.fleet.mocks(), Some("ada"));
        let mut request = self.request(&shop.fleet.url(self.gateway), credential.as_ref());
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let request = request.map(reqwest::Body::wrap).try_into().unwrap();
        let response = shop.http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        self.told(status, headers, &response.bytes().await.unwrap())
    }

    /// What says who asks, as a header: a partner always has its key, people may be nobody.
    pub(crate) fn credential(
        &self,
        mocks: &Mocks,
        user: Option<&str>,
    ) -> Option<(&'static str, String)> {
        if self.callers() == Callers::Partners {
            return Some(("x-api-key", fleet::PARTNER_KEY.to_owned()));
        }
        let token = mocks.token_for(user?).unwrap();
        Some(("authorization", format!("Bearer {token}")))
    }

    /// Who calls its gateway.
    pub(crate) fn callers(&self) -> Callers {
        let own = |g: &&fleet::Gateway| g.name == self.gateway;
        fleet::GATEWAYS.iter().find(own).unwrap().callers()
    }

    /// The request for it, at a gateway's URL.
    pub(crate) fn request(
        &self,
        url: &str,
        credential: Option<&(&str, String)>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().uri(format!("{url}{}", self.path));
        if let Some((name, value)) = credential {
            request = request.header(*name, value);
        }
        let request = match &self.document {
            Some(document) => (request.method("POST"))
                .header("content-type", "application/json")
                .body(Full::from(json!({"query": document}).to_string())),
            None => request.body(Full::default()),
        };
        request.unwrap()
    }

    /// What an answer tells.
    pub(crate) fn told(&self, status: u16, headers: HeaderMap, body: &[u8]) -> Told {
        let body = serde_json::from_slice(body).unwrap();
        match self.document {
            Some(_) => graphql::told(&self.operation, status, headers, body),
            None => rest::told(status, headers, body),
        }
    }

    /// Whether the contract lets the screen be without this section.
    pub(crate) fn requires(&self, section: &str) -> bool {
        self.required.iter().any(|name| name == section)
    }
}

impl Told {
    /// A header as text; empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// What the screen shows of a section: a member, or (`rows.<id>`) one entry of a list.
    pub(crate) fn shows(&self, section: &str) -> Option<&Value> {
        let found = match section.split_once('.') {
            None => self.data.get(section),
            Some((list, id)) => self.data[list].as_array()?.iter().find(|e| e["id"] == id),
        };
        found.filter(|value| !value.is_null())
    }
}

/// The value a contract gives a parameter as its example.
fn example(parameter: &Value) -> Option<&Value> {
    let own = parameter.get("example");
    own.or_else(|| parameter["schema"].get("example"))
}

#[test]
fn every_gateway_enrols_its_screens() {
    for gateway in fleet::GATEWAYS {
        let own = enrolled().iter().filter(|s| s.gateway == gateway.name);
        assert!(own.count() > 0, "{} enrols no screens", gateway.name);
    }
    assert!(enrolled().iter().any(|s| s.document.is_some()));
}

#[test]
fn a_parameter_without_an_example_is_told() {
    let screen = json!({"allOf": [{"required": ["a"]}, {"properties": {"_meta": {}}}]});
    let ok = json!({"content": {"application/json": {"schema": screen}}});
    let parameter = json!({"name": "id", "in": "path", "required": true, "schema": {}});
    let operation =
        json!({"operationId": "get_x", "parameters": [parameter], "responses": {"200": ok}});
    let mut contract = json!({"paths": {"/x/{id}": {"get": operation}}});
    let line = rest::screens("web", &contract).unwrap_err();
    assert_eq!(line, "web: get_x: path parameter `id` has no example");
    contract["paths"]["/x/{id}"]["get"]["parameters"][0]["example"] = json!("p-1");
    let found = rest::screens("web", &contract).unwrap();
    assert_eq!(
        (found[0].path.as_str(), found[0].requires("a")),
        ("/x/p-1", true)
    );
    let sdl = "schema { query: Q } type Q { x(key: ID!, id: ID!): X } type X { a: Int! b: X }";
    let line = graphql::screens("web", sdl, &contract).unwrap_err();
    assert_eq!(line, "web: x: no REST parameter `key` has an example");
}
