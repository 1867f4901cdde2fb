//! The signed-in user.

use async_graphql::SimpleObject;
use bff_core::{Caller, Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::user;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use crate::Upstreams;

/// The signed-in user.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The user's profile.
    pub profile: Profile,
    /// The names of the user's friends.
    pub friends: Option<Vec<String>>,
}

/// A user's profile.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// The market, ISO 3166-1 alpha-2.
    pub region: String,
}

impl Me {
    /// Fetches the sections concurrently. Only `profile` is required.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        caller: &Caller,
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let (profile, friends) = try_join!(
            screen.required("profile", up.user.profile(cx, caller), Profile::from_wire),
            screen.optional("friends", up.user.friends(cx, caller), |w| {
                w.items.iter().map(|f| f.name.clone()).collect()
            }),
        )?;
        Ok(screen.build(Self { profile, friends }))
    }
}

impl Profile {
    fn from_wire(wire: &user::Profile) -> Self {
        Self {
            id: (&wire.id).into(),
            name: wire.name.clone(),
            email: wire.email.clone(),
            region: wire.region.clone(),
        }
    }
}
