//! A write that is done once, as a door takes it in.

use axum::extract::{FromRequest, FromRequestParts, Request};
use garde::Validate;
use serde::de::DeserializeOwned;

use super::doors::SignedIn;
use super::input;
use crate::action::{Asked, Key};
use crate::error::Error;

/// Who asks for a write and what they call it by, and what they want. Read in that order, so that whoever is not signed
/// in learns nothing of the rest.
#[derive(Debug)]
pub struct Write<T> {
    /// What it is remembered by.
    pub asked: Asked,
    /// The body, parsed and validated.
    pub input: T,
}

impl<T, S> FromRequest<S> for Write<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let SignedIn(caller) = SignedIn::from_request_parts(&mut parts, state).await?;
        let key = Key::from_request_parts(&mut parts, state).await?;
        let body = input::json(Request::from_parts(parts, body)).await?;
        Ok(Self {
            input: input::parse(&body)?,
            asked: Asked::new(caller, key, &body),
        })
    }
}
