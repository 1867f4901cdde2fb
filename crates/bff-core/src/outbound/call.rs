//! One request to a backend, built from parsed parts only.

use std::fmt::{self, Display, Write};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{Failure, Id, RetryTraits, retry};
use crate::cache::CachePolicy;
use crate::scope::{CacheVisibility, Caller, Scope, Segment};

mod caching;

/// RFC 3986 §3.4 leaves these as they are in a query value; spaces become `%20`.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b',');

/// What could end or change a path even inside a parsed identifier.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'/')
    .add(b'?')
    .add(b'#')
    .add(b'%')
    .add(b'\\')
    .add(b';');

/// One request to a backend: owned, so that it can outlive the request that wanted it.
#[derive(Clone)]
pub struct Call<S> {
    scope: S,
    method: Method,
    route: &'static str,
    /// What of `route` is not in `path` yet.
    rest: &'static str,
    path: String,
    has_query: bool,
    of_one_thing: bool,
    body: Result<Option<Bytes>, SerializeBodyError>,
    repeatable: Idempotency,
    hedged: bool,
    keep: CachePolicy,
}

/// Why doing it twice may be doing it once.
#[derive(Clone)]
enum Idempotency {
    /// The method says so, or nothing does.
    FromMethod,
    /// The call says so.
    Declared,
    /// The backend knows the repetition by this key.
    Key(HeaderValue),
}

/// A body that could not be written. Why stays unsaid: serde's text may quote the body.
#[derive(Clone, Copy)]
struct SerializeBodyError;

impl<S: Scope> Call<S> {
    /// A read of `route`, a path in which `{…}` are holes for identifiers.
    pub fn get(scope: S, route: &'static str) -> Self {
        Self::new(scope, Method::GET, route)
    }

    /// A write.
    pub fn post(scope: S, route: &'static str) -> Self {
        Self::new(scope, Method::POST, route)
    }

    /// Any other method.
    pub fn new(scope: S, method: Method, route: &'static str) -> Self {
        Self {
            scope,
            method,
            route,
            rest: route,
            path: String::with_capacity(route.len() + 24),
            has_query: false,
            of_one_thing: route.contains('{'),
            body: Ok(None),
            repeatable: Idempotency::FromMethod,
            hedged: false,
            keep: CachePolicy::default_for(S::PERSONAL),
        }
    }

    /// Fills the next hole.
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
        let mut encoded = Encoded(&mut self.path);
        let _ = write!(encoded, "{value}");
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

    /// Adds identifiers as one comma list.
    #[must_use]
    pub fn query_ids<'a, I: Id + 'a>(
        self,
        name: &'static str,
        ids: impl IntoIterator<Item = &'a I>,
    ) -> Self {
        let list: Vec<&str> = ids.into_iter().map(Id::as_path_segment).collect();
        self.query(name, list.join(","))
    }

    /// Says that the call is about one thing although its route has no hole, for instance because the identifier
    /// stands in the query: then 404 says that there is no such thing, and not that the address is wrong.
    #[must_use]
    pub fn single_resource(mut self) -> Self {
        self.of_one_thing = true;
        self
    }

    /// Sets a JSON body. One that cannot be written fails the call, and nothing is sent.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        let written = serde_json::to_vec(body);
        self.body = written
            .map(|b| Some(b.into()))
            .map_err(|_| SerializeBodyError);
        self
    }

    /// Marks a write as repeatable under this key.
    #[must_use]
    pub fn idempotency_key(mut self, key: HeaderValue) -> Self {
        self.repeatable = Idempotency::Key(key);
        self
    }

    /// Says that doing it twice is doing it once, although its method does not say so.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.repeatable = Idempotency::Declared;
        self
    }

    /// Lets a second attempt race a first one that takes longer than nearly all others do: for reads that a
    /// whole screen waits for.
    #[must_use]
    pub fn hedged(mut self) -> Self {
        self.hedged = true;
        self
    }

    /// The path with its holes: what metrics name the call by.
    pub fn route(&self) -> &'static str {
        self.route
    }

    /// Who may share the answer.
    pub fn sharing(&self) -> CacheVisibility {
        self.scope.sharing()
    }

    pub(crate) fn retry_traits(&self) -> RetryTraits {
        RetryTraits {
            idempotent: retry::is_repeatable(
                &self.method,
                !matches!(self.repeatable, Idempotency::FromMethod),
            ),
            hedged: self.hedged && !self.is_write(),
            attempt_timeout: None,
            streaming: false,
            is_retryable: retry::is_retryable,
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        !self.method.is_safe()
    }

    /// Whether the call is about one thing, so that 404 is an answer and not a wrong address.
    pub(crate) fn is_of_one_thing(&self) -> bool {
        self.of_one_thing
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The body, or why nothing may be sent.
    pub(crate) fn body(&self) -> Result<Option<&Bytes>, Failure> {
        match &self.body {
            Ok(body) => Ok(body.as_ref()),
            Err(SerializeBodyError) => {
                Err(Failure::internal("the body of the call is no JSON").not_sent())
            }
        }
    }

    pub(crate) fn path(&self) -> String {
        let mut path = String::with_capacity(self.path.len() + self.rest.len());
        path.push_str(&self.path);
        path.push_str(self.rest);
        path
    }

    pub(crate) fn add_identity_headers(&self, headers: &mut HeaderMap) {
        self.scope.identify(headers);
        if let Idempotency::Key(key) = &self.repeatable {
            headers.insert("idempotency-key", key.clone());
        }
    }

    fn fill_placeholder(mut self, segment: &str) -> Self {
        debug_assert!(!self.has_query, "holes are filled before the query begins");
        if let Some((before, hole)) = self.rest.split_once('{') {
            self.path.push_str(before);
            self.path.extend(utf8_percent_encode(segment, PATH));
            self.rest = hole.split_once('}').map_or("", |(_, rest)| rest);
        }
        self
    }

    fn close_path(&mut self) {
        self.path.push_str(self.rest);
        self.rest = "";
    }
}

impl Call<Segment> {
    /// Adds the segment's region as a query parameter; depends on nothing else of the request.
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
    /// Fills the next hole with the caller's own account.
    #[must_use]
    pub fn caller_id(mut self) -> Self {
        if let Some((before, hole)) = self.rest.split_once('{') {
            self.path.push_str(before);
            self.path.push_str(self.scope.path_segment());
            self.rest = hole.split_once('}').map_or("", |(_, rest)| rest);
        }
        self
    }
}

/// Path, body and identity may be secret or personal: only what metrics show is printed.
impl<S> fmt::Debug for Call<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.route)
    }
}

/// Percent-encodes what is written through it.
struct Encoded<'a>(&'a mut String);

impl Write for Encoded<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend(utf8_percent_encode(s, QUERY));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Public;
    use proptest::prelude::*;

    crate::id! {
        /// A thing.
        ThingId
    }

    #[test]
    fn holes_are_filled_in_order_and_values_encoded() {
        let id: ThingId = "a-1".parse().unwrap();
        let call = Call::get(Public, "/things/{id}/parts")
            .path_id(&id)
            .query("q", "a&b c")
            .query("n", 2);
        assert_eq!(call.path(), "/things/a-1/parts?q=a%26b%20c&n=2");
        assert_eq!(call.route(), "/things/{id}/parts");
        let list = Call::get(Public, "/things").query_ids("ids", [&id, &id]);
        assert_eq!(list.path(), "/things?ids=a-1,a-1");
        assert!(call.is_of_one_thing() && !list.is_of_one_thing());
        let one = Call::get(Public, "/things")
            .query("id", &id)
            .single_resource();
        assert!(one.is_of_one_thing());
    }

    #[test]
    fn a_call_prints_neither_its_body_nor_its_values() {
        let call = Call::post(Public, "/things")
            .query("q", "secret")
            .json(&"secret");
        assert_eq!(format!("{call:?}"), "POST /things");
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_one_segment(text: String) {
            if let Ok(id) = text.parse::<ThingId>() {
                let path = Call::get(Public, "/a/{id}/b").path_id(&id).path();
                prop_assert_eq!(path.split('/').collect::<Vec<_>>(), vec!["", "a", &text, "b"]);
            }
        }

        #[test]
        fn a_query_value_stays_one_value(text: String) {
            let path = Call::get(Public, "/a").query("q", &text).path();
            let query = path.strip_prefix("/a?q=").unwrap();
            prop_assert!(!query.contains(['&', '#', '?', ' ', '+']));
            let back = percent_encoding::percent_decode_str(query).decode_utf8().unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
