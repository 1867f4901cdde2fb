//! Who is signed in.

use async_graphql::SimpleObject;
use bff_core::{Caller, Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::user;
use serde::Serialize;
use tokio::try_join;
use utoipa::ToSchema;

use crate::Upstreams;

/// The signed-in person.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The profile.
    pub profile: Profile,
    /// The friends.
    pub friends: Option<Vec<String>>,
}

/// A person's profile.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The account.
    pub id: String,
    /// The name to greet with.
    pub name: String,
    /// The address for mail.
    pub email: String,
    /// The market.
    pub region: String,
}

impl Me {
    /// Fetches profile and friends side by side.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        caller: &Caller,
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let (profile, friends) = try_join!(
            page.required("profile", up.user.profile(cx, caller), Profile::from_wire),
            page.optional("friends", up.user.friends(cx, caller), |w| {
                w.items.iter().map(|f| f.name.clone()).collect()
            }),
        )?;
        Ok(page.build(Self { profile, friends }))
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
