//! Finds every screen in the committed contracts: each OpenAPI operation whose response has `_meta`, and each root field
//! of a GraphQL schema. The contract's examples become the request's parameters.

use std::sync::LazyLock;

use bytes::Bytes;
use fleet::Callers;
use http::{HeaderMap, Request};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use services_mock::Mocks;

use crate::support::{TestFleet, file};

mod graphql;
mod rest;

/// A screen as its contract describes it.
#[derive(Debug)]
pub(crate) struct ScreenOperation {
    pub(crate) gateway: &'static str,
    /// The operation id, or the GraphQL root field.
    pub(crate) operation: String,
    /// The path with its query, or the path of the GraphQL endpoint.
    pub(crate) path: String,
    /// A GraphQL document that selects every field.
    pub(crate) document: Option<String>,
    /// The required sections.
    pub(crate) required: Vec<String>,
}

/// One response, over REST or GraphQL.
#[derive(Clone, Debug)]
pub(crate) struct ScreenResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The error code of a failed screen.
    pub(crate) code: Option<String>,
    /// The screen's members.
    pub(crate) data: Value,
    /// The `_meta` entry of each section, by the section's name.
    pub(crate) sections: Map<String, Value>,
    /// The whole JSON document.
    pub(crate) body: Value,
}

/// Every screen of every gateway.
pub(crate) fn all_screens() -> &'static [ScreenOperation] {
    static ALL: LazyLock<Vec<ScreenOperation>> = LazyLock::new(|| {
        let mut screens = Vec::new();
        let mut errors = Vec::new();
        for gateway in fleet::GATEWAYS {
            let folder = format!("bffs/{}", gateway.name);
            let contract: Value =
                serde_json::from_str(&file(&format!("{folder}/openapi.json")).unwrap()).unwrap();
            let schema = file(&format!("{folder}/schema.graphql"));
            let fields = schema.map(|sdl| graphql::screens(gateway.name, &sdl, &contract));
            for result in [Some(rest::screens(gateway.name, &contract)), fields] {
                match result.unwrap_or(Ok(Vec::new())) {
                    Ok(found) => screens.extend(found),
                    Err(line) => errors.push(line),
                }
            }
        }
        assert!(errors.is_empty(), "{}", errors.join("\n"));
        screens
    });
    &ALL
}

impl ScreenOperation {
    /// Requests the screen as a signed-in user, or with the partner's key.
    pub(crate) async fn send(&self, fleet: &TestFleet, headers: &[(&str, &str)]) -> ScreenResponse {
        let credential = self.credential(fleet.running.mocks(), Some("ada"));
        let mut request = self.request(&fleet.running.url(self.gateway), credential.as_ref());
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let request = request.map(reqwest::Body::wrap).try_into().unwrap();
        let response = fleet.http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        self.parse_response(status, headers, &response.bytes().await.unwrap())
    }

    /// The header with the caller's credential. A partner always has its key; without a `user`, people are anonymous.
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

    /// The kind of callers of its gateway.
    pub(crate) fn callers(&self) -> Callers {
        let is_own = |g: &&fleet::Gateway| g.name == self.gateway;
        fleet::GATEWAYS.iter().find(is_own).unwrap().callers()
    }

    /// Builds the request for a gateway at `url`.
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

    /// Parses a response to this screen.
    pub(crate) fn parse_response(
        &self,
        status: u16,
        headers: HeaderMap,
        body: &[u8],
    ) -> ScreenResponse {
        let body = serde_json::from_slice(body).unwrap();
        match self.document {
            Some(_) => graphql::parse_response(&self.operation, status, headers, body),
            None => rest::parse_response(status, headers, body),
        }
    }

    /// Whether the section is required.
    pub(crate) fn requires(&self, section: &str) -> bool {
        self.required.iter().any(|name| name == section)
    }
}

impl ScreenResponse {
    /// A header as text; empty if absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The data of a section: a member, or one entry of a list for `rows.<id>`. `None` if it is null.
    pub(crate) fn section_data(&self, section: &str) -> Option<&Value> {
        let data = match section.split_once('.') {
            None => self.data.get(section),
            Some((list, id)) => self.data[list].as_array()?.iter().find(|e| e["id"] == id),
        };
        data.filter(|value| !value.is_null())
    }
}

/// The example of a parameter in a contract.
fn example(parameter: &Value) -> Option<&Value> {
    let example = parameter.get("example");
    example.or_else(|| parameter["schema"].get("example"))
}

#[test]
fn every_gateway_has_screens_in_its_contract() {
    for gateway in fleet::GATEWAYS {
        let screens = all_screens().iter().filter(|s| s.gateway == gateway.name);
        assert!(screens.count() > 0, "{} has no screens", gateway.name);
    }
    assert!(all_screens().iter().any(|s| s.document.is_some()));
}

#[test]
fn a_parameter_without_an_example_is_an_error() {
    let whole = json!({"allOf": [{"required": ["a"]}, {"properties": {"_meta": {}}}]});
    let screen = json!({"anyOf": [whole, {}]});
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
