//! The extractor of an idempotent write.

use axum::extract::{FromRequest, FromRequestParts, Request};
use garde::Validate;
use serde::de::DeserializeOwned;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::{IntoParams, PartialSchema};

use crate::action::{IDEMPOTENCY_KEY, IdempotencyKey, WriteRequest};
use crate::error::Error;
use crate::inbound::endpoints::Authenticated;

/// A write with its caller, its idempotency key and its input. They are read in this order, so that an anonymous client
/// gets 401 and learns nothing about the input.
#[derive(Debug)]
pub struct IdempotentRequest<T> {
    /// The caller, the idempotency key and the fingerprint of the body.
    pub request: WriteRequest,
    /// The body, parsed and validated.
    pub input: T,
}

impl<T, S> FromRequest<S> for IdempotentRequest<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let Authenticated(caller) = Authenticated::from_request_parts(&mut parts, state).await?;
        let key = IdempotencyKey::from_request_parts(&mut parts, state).await?;
        let body = super::body::json(Request::from_parts(parts, body)).await?;
        Ok(Self {
            input: super::body::parse(&body)?,
            request: WriteRequest::new(caller, key, &body),
        })
    }
}

impl<T> IntoParams for IdempotentRequest<T> {
    fn into_params(_default: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let key = ParameterBuilder::new()
            .name(IDEMPOTENCY_KEY)
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some(
                "Identifies this write: 1 to 255 visible characters, in quotes or without. A retry must send the same key.",
            ))
            .schema(Some(IdempotencyKey::schema()))
            .example(Some("8e03978e-40d5-43dd-bc93-6894a57f9324".into()));
        vec![key.build()]
    }
}
