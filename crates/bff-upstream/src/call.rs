//! A request to a backend, built from parsed parts only.

use std::fmt::{self, Display, Write};

use bff_context::trusted;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::policies::retry::{self, RetryTraits};
use bff_cache::CachePolicy;
use bff_context::context::{Failure, Id};
use bff_context::scope::{CacheVisibility, Caller, Scope, Segment};

mod caching;

/// The characters to encode in a query value (RFC 3986 §3.4). A space becomes `%20`.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b',');

/// The characters to encode in a path segment, because they could end or change the path.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'/')
    .add(b'?')
    .add(b'#')
    .add(b'%')
    .add(b'\\')
    .add(b';');

/// A request to a backend. It owns its data, so that it can outlive the client's request.
#[derive(Clone)]
pub struct Call<S> {
    scope: S,
    method: Method,
    route: &'static str,
    /// The part of `route` that is not yet in `path`.
    remaining_route: &'static str,
    path: String,
    has_query: bool,
    single_resource: bool,
    body: Result<Option<Bytes>, SerializeBodyError>,
    idempotency: Idempotency,
    hedged: bool,
    cache_policy: CachePolicy,
}

/// The source of a call's idempotency.
#[derive(Clone)]
enum Idempotency {
    /// The method decides (RFC 9110 §9.2.2).
    FromMethod,
    /// The call is declared idempotent.
    Declared,
    /// The backend recognizes a repetition by this key.
    Key(HeaderValue),
}

/// The error of a body that does not serialize. It has no text, because serde's text may quote the body.
#[derive(Clone, Copy)]
struct SerializeBodyError;

impl<S: Scope> Call<S> {
    /// Creates a GET call. In `route`, `{…}` marks a placeholder for an identifier.
    pub fn get(scope: S, route: &'static str) -> Self {
        Self::new(scope, Method::GET, route)
    }

    /// Creates a POST call.
    pub fn post(scope: S, route: &'static str) -> Self {
        Self::new(scope, Method::POST, route)
    }

    /// Creates a call with any method.
    pub fn new(scope: S, method: Method, route: &'static str) -> Self {
        Self {
            scope,
            method,
            route,
            remaining_route: route,
            path: String::with_capacity(route.len() + 24),
            has_query: false,
            single_resource: route.contains('{'),
            body: Ok(None),
            idempotency: Idempotency::FromMethod,
            hedged: false,
            cache_policy: CachePolicy::default_for(S::PERSONAL),
        }
    }

    /// Fills the next placeholder with an identifier.
    #[must_use]
    pub fn path_id(self, id: &impl Id) -> Self {
        self.fill_placeholder(id.as_path_segment())
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Display) -> Self {
        self.close_path();
        self.path.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.path.push_str(name);
        self.path.push('=');
        let mut encoder = QueryEncoder(&mut self.path);
        let _ = write!(encoder, "{value}");
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn query_opt(self, name: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a query parameter with a comma-separated list of identifiers.
    #[must_use]
    pub fn query_ids<'a, I: Id + 'a>(
        self,
        name: &'static str,
        ids: impl IntoIterator<Item = &'a I>,
    ) -> Self {
        let list: Vec<&str> = ids.into_iter().map(Id::as_path_segment).collect();
        self.query(name, list.join(","))
    }

    /// Declares that the call reads a single resource although its route has no placeholder, for example because the
    /// identifier is in the query. A 404 then means that the resource does not exist, not that the route is wrong.
    #[must_use]
    pub fn single_resource(mut self) -> Self {
        self.single_resource = true;
        self
    }

    /// Sets a JSON body. If it does not serialize, the call fails and nothing is sent.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        let serialized = serde_json::to_vec(body);
        self.body = serialized
            .map(|b| Some(b.into()))
            .map_err(|_| SerializeBodyError);
        self
    }

    /// Sets the `Idempotency-Key` header, which makes a write idempotent.
    #[must_use]
    pub fn idempotency_key(mut self, key: HeaderValue) -> Self {
        self.idempotency = Idempotency::Key(key);
        self
    }

    /// Declares the call idempotent, although its method is not.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotency = Idempotency::Declared;
        self
    }

    /// Allows a hedge: a parallel second attempt if the first one is slower than nearly all others. For reads that a
    /// whole screen waits for.
    #[must_use]
    pub fn hedged(mut self) -> Self {
        self.hedged = true;
        self
    }

    /// The path with its placeholders. Metrics use it as a label.
    pub fn route(&self) -> &'static str {
        self.route
    }

    /// The caches that may store the response.
    pub fn visibility(&self) -> CacheVisibility {
        self.scope.visibility()
    }

    /// The properties of the call that decide about retries and hedges.
    pub fn retry_traits(&self) -> RetryTraits {
        RetryTraits {
            idempotent: retry::is_idempotent(
                &self.method,
                !matches!(self.idempotency, Idempotency::FromMethod),
            ),
            hedged: self.hedged && !self.is_write(),
            attempt_timeout: None,
            streaming: false,
            is_retryable: retry::is_retryable,
        }
    }

    /// Whether the method is unsafe (RFC 9110 §9.2.1).
    pub fn is_write(&self) -> bool {
        !self.method.is_safe()
    }

    /// Whether the call is about a single resource, so that a 404 means that the resource does not exist.
    pub fn is_single_resource(&self) -> bool {
        self.single_resource
    }

    /// The method of the request.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The serialized body.
    ///
    /// # Errors
    /// An unsent failure if the body did not serialize.
    pub fn body(&self) -> Result<Option<&Bytes>, Failure> {
        match &self.body {
            Ok(body) => Ok(body.as_ref()),
            Err(SerializeBodyError) => {
                Err(Failure::internal("the request body cannot be serialized").not_sent())
            }
        }
    }

    /// The path with the query, percent-encoded.
    pub fn path(&self) -> String {
        let mut path = String::with_capacity(self.path.len() + self.remaining_route.len());
        path.push_str(&self.path);
        path.push_str(self.remaining_route);
        path
    }

    /// Adds the headers that the scope permits, and the idempotency key.
    pub fn add_identity_headers(&self, headers: &mut HeaderMap) {
        trusted::identify(&self.scope, headers);
        if let Idempotency::Key(key) = &self.idempotency {
            headers.insert("idempotency-key", key.clone());
        }
    }

    fn fill_placeholder(mut self, segment: &str) -> Self {
        debug_assert!(!self.has_query, "fill all placeholders before the query");
        if let Some((before, after)) = self.remaining_route.split_once('{') {
            self.path.push_str(before);
            self.path.extend(utf8_percent_encode(segment, PATH));
            self.remaining_route = after.split_once('}').map_or("", |(_, rest)| rest);
        }
        self
    }

    fn close_path(&mut self) {
        self.path.push_str(self.remaining_route);
        self.remaining_route = "";
    }
}

impl Call<Segment> {
    /// Adds the segment's region as a query parameter. The response then depends on no other part of the segment.
    #[must_use]
    pub fn region(mut self, name: &'static str) -> Self {
        self.scope = self.scope.by_region();
        match self.scope.region() {
            Some(region) => self.query(name, region.as_str()),
            None => self,
        }
    }
}

impl Call<Caller> {
    /// Fills the next placeholder with the caller's account.
    #[must_use]
    pub fn caller_id(mut self) -> Self {
        if let Some((before, after)) = self.remaining_route.split_once('{') {
            self.path.push_str(before);
            self.path.push_str(trusted::path_segment(&self.scope));
            self.remaining_route = after.split_once('}').map_or("", |(_, rest)| rest);
        }
        self
    }
}

/// Prints method and route only, because path, body and identity may be secret or personal.
impl<S> fmt::Debug for Call<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.route)
    }
}

/// A writer that percent-encodes its input.
struct QueryEncoder<'a>(&'a mut String);

impl Write for QueryEncoder<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend(utf8_percent_encode(s, QUERY));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_context::scope::Public;
    use proptest::prelude::*;

    bff_context::id! {
        /// A thing.
        ThingId
    }

    #[test]
    fn placeholders_are_filled_in_order_and_values_encoded() {
        let id: ThingId = "a-1".parse().unwrap();
        let call = Call::get(Public, "/things/{id}/parts")
            .path_id(&id)
            .query("q", "a&b c")
            .query("n", 2);
        assert_eq!(call.path(), "/things/a-1/parts?q=a%26b%20c&n=2");
        assert_eq!(call.route(), "/things/{id}/parts");
        let list = Call::get(Public, "/things").query_ids("ids", [&id, &id]);
        assert_eq!(list.path(), "/things?ids=a-1,a-1");
        assert!(call.is_single_resource() && !list.is_single_resource());
        let one = Call::get(Public, "/things")
            .query("id", &id)
            .single_resource();
        assert!(one.is_single_resource());
    }

    #[test]
    fn debug_output_has_neither_body_nor_values() {
        let call = Call::post(Public, "/things")
            .query("q", "secret")
            .json(&"secret");
        assert_eq!(format!("{call:?}"), "POST /things");
    }

    proptest! {
        #[test]
        fn a_parsed_identifier_is_one_path_segment(text: String) {
            if let Ok(id) = text.parse::<ThingId>() {
                let path = Call::get(Public, "/a/{id}/b").path_id(&id).path();
                prop_assert_eq!(path.split('/').collect::<Vec<_>>(), vec!["", "a", &text, "b"]);
            }
        }

        #[test]
        fn a_query_value_is_encoded_as_one_value(text: String) {
            let path = Call::get(Public, "/a").query("q", &text).path();
            let query = path.strip_prefix("/a?q=").unwrap();
            prop_assert!(!query.contains(['&', '#', '?', ' ', '+']));
            let back = percent_encoding::percent_decode_str(query).decode_utf8().unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
