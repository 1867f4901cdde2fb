//! A finished screen, and the HTTP answer it becomes.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::openapi::{AllOfBuilder, ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{FieldSelection, Meta, write};
use crate::cache::status;
use crate::error::{Error, codes};
use crate::scope::CacheVisibility;

/// The header that tells every section's state.
pub const SECTIONS: HeaderName = HeaderName::from_static("sections");

/// Room for what a screen and the edge say of it, or the map would grow twice on the way.
const HEADERS: usize = 24;

/// The media type of a screen.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Both headers a credential may come in.
const BY_CALLER: HeaderValue = HeaderValue::from_static("authorization, x-api-key");

/// A screen's value and the truth about its sections.
#[derive(Clone, Debug)]
pub struct Screen<T> {
    value: T,
    meta: Meta,
    want: FieldSelection,
    sharing: CacheVisibility,
}

impl<T> Screen<T> {
    pub(crate) fn new(
        value: T,
        meta: Meta,
        want: FieldSelection,
        sharing: CacheVisibility,
    ) -> Self {
        Self {
            value,
            meta,
            want,
            sharing,
        }
    }

    /// The truth about the sections.
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
        let written = match write::screen(&self.value, &self.meta, &self.want) {
            Ok(written) => written,
            Err(error) => {
                return Error::new(codes::INTERNAL, "The answer could not be written.")
                    .with_cause(error)
                    .into_response();
            }
        };
        let mut response = Response::new(Body::from(written.body));
        *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        if let Some(sections) = self.meta.header() {
            headers.insert(SECTIONS, sections);
        }
        status::write_headers(self.meta.entries().iter().map(|e| &e.from), headers);
        if !self.meta.is_complete() {
            // An incomplete answer is nobody's to keep.
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return response;
        }
        let scope = if self.sharing.private {
            "private"
        } else {
            "public"
        };
        let mut seconds = self.meta.fresh_for().as_secs();
        if let Some(age) = self.meta.age() {
            // Caches subtract it from `max-age` (RFC 9111 §4.2), and what they find is the freshness left.
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
        if self.sharing.by_language {
            headers.append(header::VARY, HeaderValue::from_static("accept-language"));
        }
        if self.sharing.by_caller {
            // A browser's own cache has one entry an address, whoever signs in or out on it.
            headers.append(header::VARY, BY_CALLER);
        }
        if let Ok(etag) = HeaderValue::try_from(format!("W/\"{:032x}\"", written.digest)) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

/// What utoipa's derive writes for a generic type; the trait has no other name. The derive itself would copy the
/// screen's schema into the contract where this refers to it, and a `PartialSchema` does not do for a generic body.
impl<T: ToSchema> utoipa::__dev::ComposeSchema for Screen<T> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        let meta = ObjectBuilder::new()
            .property("_meta", Ref::from_schema_name(Meta::name()))
            .required("_meta");
        AllOfBuilder::new()
            .item(Ref::from_schema_name(T::name()))
            .item(meta)
            .into()
    }
}

impl<T: ToSchema> ToSchema for Screen<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("{}Screen", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into(), T::schema()));
        T::schemas(schemas);
        schemas.push((Meta::name().into(), Meta::schema()));
        Meta::schemas(schemas);
    }
}
