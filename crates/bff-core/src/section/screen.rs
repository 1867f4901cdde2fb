//! A screen and its conversion to an HTTP response.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{AllOfBuilder, ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::sparse::{sparse_name, sparse_schemas};
use super::{FieldSelection, Meta, write};
use crate::cache::status;
use crate::error::{Error, codes};
use crate::scope::CacheVisibility;

/// The header that lists the state of each section.
pub const SECTIONS: HeaderName = HeaderName::from_static("sections");

/// Initial capacity for the headers of the screen and of the edge; a smaller map would grow twice.
const HEADER_CAPACITY: usize = 24;

/// The Content-Type of a screen.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `Vary` value: the two request headers that carry credentials.
pub(crate) const BY_CALLER: HeaderValue = HeaderValue::from_static("authorization, x-api-key");

/// A screen's value and the provenance of its sections.
#[derive(Clone, Debug)]
pub struct Screen<T> {
    value: T,
    meta: Meta,
    selection: FieldSelection,
    visibility: CacheVisibility,
}

impl<T> Screen<T> {
    pub(crate) fn new(
        value: T,
        meta: Meta,
        selection: FieldSelection,
        visibility: CacheVisibility,
    ) -> Self {
        Self {
            value,
            meta,
            selection,
            visibility,
        }
    }

    /// The sections and their provenance.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The screen's value.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T: Serialize> IntoResponse for Screen<T> {
    fn into_response(self) -> Response {
        let mut response = self.response();
        response.extensions_mut().insert(self.meta.into_reported());
        response
    }
}

impl<T: Serialize> Screen<T> {
    fn response(&self) -> Response {
        let document = match write::screen(&self.value, &self.meta, &self.selection) {
            Ok(document) => document,
            Err(error) => {
                return Error::new(codes::INTERNAL, "The response could not be serialized.")
                    .with_cause(error)
                    .into_response();
            }
        };
        let mut response = Response::new(Body::from(document.json));
        *response.headers_mut() = HeaderMap::with_capacity(HEADER_CAPACITY);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        if let Some(sections) = self.meta.header() {
            headers.insert(SECTIONS, sections);
        }
        let provenances = self.meta.sections().iter().map(|s| &s.provenance);
        status::write_headers(provenances, headers);
        if !self.meta.is_complete() {
            // No cache may store an incomplete response.
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return response;
        }
        let scope = if self.visibility.private {
            "private"
        } else {
            "public"
        };
        let mut seconds = self.meta.fresh_for().as_secs();
        if let Some(age) = self.meta.age() {
            // Caches subtract `Age` from `max-age` (RFC 9111 §4.2). The rest is the remaining freshness.
            seconds = if seconds > 0 {
                seconds + age.as_secs()
            } else {
                0
            };
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
        if let Ok(value) = HeaderValue::try_from(format!("{scope}, max-age={seconds}")) {
            headers.insert(header::CACHE_CONTROL, value);
        }
        if self.visibility.by_language {
            headers.append(header::VARY, HeaderValue::from_static("accept-language"));
        }
        if self.visibility.by_caller {
            // A browser's cache has one entry per URL, before and after a sign-in.
            headers.append(header::VARY, BY_CALLER);
        }
        if let Ok(etag) = HeaderValue::try_from(format!("W/\"{:032x}\"", document.digest)) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

/// The trait that utoipa's derive implements for a generic type; it has no public name. The derive would inline the
/// screen's schema where this refers to it. A `PartialSchema` does not work for a generic body.
impl<T: ToSchema> utoipa::__dev::ComposeSchema for Screen<T> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        let whole = whole_name::<T>();
        AnyOfBuilder::new()
            .description(Some(
                "The whole screen. With the parameter `fields`, only its selected members.",
            ))
            .item(Ref::from_schema_name(&whole))
            .item(Ref::from_schema_name(sparse_name(&whole)))
            .into()
    }
}

impl<T: ToSchema> ToSchema for Screen<T> {
    fn name() -> Cow<'static, str> {
        whole_name::<T>().into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        let mut members = vec![(T::name().into(), T::schema())];
        T::schemas(&mut members);
        let members = members.into_iter().collect();
        let (whole, name) = (whole_name::<T>(), T::name());
        schemas.push((sparse_name(&whole), with_meta(&sparse_name(&name))));
        schemas.push((whole, with_meta(&name)));
        schemas.extend(sparse_schemas(&members));
        schemas.extend(members);
        schemas.push((Meta::name().into(), Meta::schema()));
        Meta::schemas(schemas);
    }
}

/// The name of the schema of a whole screen.
fn whole_name<T: ToSchema>() -> String {
    format!("{}Screen", T::name())
}

/// The schema of the members `name` with `_meta`.
fn with_meta(name: &str) -> RefOr<Schema> {
    let meta = ObjectBuilder::new()
        .property("_meta", Ref::from_schema_name(Meta::name()))
        .required("_meta");
    AllOfBuilder::new()
        .item(Ref::from_schema_name(name))
        .item(meta)
        .into()
}
