//! The user backend: profile, preferences, addresses and friends of the caller. Nothing is cached.

use crate::wire::null::null_as_default;
use bff_core::outbound::{Call, Upstream};
use bff_core::{Caller, Code, Failure, Fetched, RequestContext, UpstreamClient};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::product::{Maturity, ProductId};
use crate::wire::error_mapping::{map_invalid, map_status};
use crate::wire::open_enum::open_enum;
use crate::{Items, Timestamp};

/// The account has the maximum number of addresses.
pub const TOO_MANY_ADDRESSES: Code = Code::new(
    "too_many_addresses",
    409,
    "Too many addresses",
    "The account has the maximum number of addresses.",
    "The client can fix it: delete an address.",
);

bff_core::id! {
    /// The id of a user.
    UserId
}
bff_core::id! {
    /// The id of an address.
    AddressId
}

open_enum! {
    /// An action of a friend.
    Action {
        /// The friend watched the product.
        Watched = "watched",
        /// The friend rated the product.
        Rated = "rated",
        /// The friend bought the product.
        Bought = "bought",
        ..
        /// An action that this gateway does not know.
        Other = "other"
    }
}

/// The caller's profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The user's id.
    pub id: UserId,
    /// The user's name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// The role, for instance `customer`.
    pub role: String,
    /// The market, ISO 3166-1 alpha-2.
    pub region: String,
    /// The highest maturity level that the user may watch.
    pub maturity: Maturity,
    /// The time at which the account was created.
    pub created_at: Timestamp,
}

/// The public data of a user.
#[derive(Clone, Debug, Deserialize)]
pub struct Person {
    /// The user's id.
    pub id: UserId,
    /// The user's name.
    pub name: String,
}

/// The caller's preferences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preferences {
    /// A BCP 47 language tag.
    pub language: String,
    /// Whether playback starts with subtitles.
    pub subtitles: bool,
    /// Whether the next episode starts automatically.
    pub autoplay: bool,
    /// The ids of genres. It is complete, because a client writes the preferences back as a whole.
    #[serde(default, deserialize_with = "null_as_default")]
    pub favourite_genres: Vec<String>,
}

/// One of the caller's addresses.
#[derive(Clone, Debug, Deserialize)]
pub struct Address {
    /// Its id.
    pub id: AddressId,
    /// The postal address.
    #[serde(flatten)]
    pub postal: PostalAddress,
}

/// A postal address.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostalAddress {
    /// The name of the recipient.
    pub name: String,
    /// The street and the house number.
    pub street: String,
    /// The city.
    pub city: String,
    /// The postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// An action of a friend with a product.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The friend.
    pub friend: Person,
    /// The product.
    pub product_id: ProductId,
    /// The action.
    pub action: Action,
    /// The time of the action.
    pub at: Timestamp,
}

/// The client of the user backend.
#[derive(Clone, Debug)]
pub struct UserClient(Upstream);

impl UpstreamClient for UserClient {
    type Upstream = Upstream;

    fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl UserClient {
    /// Returns the caller's profile.
    pub async fn profile(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Profile, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}").caller_id();
        self.0.send(cx, call).await
    }

    /// Returns the caller's preferences.
    pub async fn preferences(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Preferences, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}/preferences").caller_id();
        self.0.send(cx, call).await
    }

    /// Replaces the caller's preferences.
    pub async fn set_preferences(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        preferences: &Preferences,
    ) -> Result<Fetched<Preferences, Caller>, Failure> {
        let call = Call::new(caller.clone(), Method::PUT, "/users/{caller}/preferences")
            .caller_id()
            .json(preferences);
        map_invalid(self.0.send(cx, call).await, "", "not valid preferences")
    }

    /// Returns the caller's addresses.
    pub async fn addresses(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Items<Address>, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}/addresses").caller_id();
        self.0.send(cx, call).await
    }

    /// Adds an address to the caller's account.
    pub async fn add_address(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        address: &PostalAddress,
    ) -> Result<Fetched<Address, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/users/{caller}/addresses")
            .caller_id()
            .json(address);
        let outcome = self.0.send(cx, call).await;
        let outcome = map_status(outcome, 409, TOO_MANY_ADDRESSES);
        map_invalid(outcome, "", "not a valid address")
    }

    /// Returns the caller's friends.
    pub async fn friends(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Items<Person>, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}/friends").caller_id();
        self.0.send(cx, call).await
    }

    /// Returns the actions of the caller's friends, newest first, optionally only those with one product.
    pub async fn friends_activity(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        product_id: Option<&ProductId>,
        limit: u32,
    ) -> Result<Fetched<Items<Activity>, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}/friends/activity")
            .caller_id()
            .query("limit", limit)
            .query_opt("productId", product_id);
        self.0.send(cx, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn profile_address_and_activity_decode() {
        let profile = json!({
            "id": "kim", "name": "Kim", "email": "kim@example.com", "role": "customer",
            "region": "DE", "maturity": "all", "createdAt": "2025-01-01T00:00:00Z"
        });
        let profile: Profile = from_value(profile).unwrap();
        assert_eq!(profile.maturity, Maturity::All);
        let address = json!({
            "id": "a-1", "name": "Kim", "street": "Hauptstr. 1", "city": "Springfield",
            "postalCode": "10115", "country": "DE"
        });
        let address: Address = from_value(address).unwrap();
        assert_eq!(address.postal.postal_code, "10115");
        let activity = json!({
            "friend": {"id": "ben", "name": "Ben"}, "productId": "p-1", "action": "danced",
            "at": "2026-05-30T08:00:00Z"
        });
        assert_eq!(
            from_value::<Activity>(activity).unwrap().action,
            Action::Other
        );
    }

    #[test]
    fn preferences_round_trip() {
        let wire = json!({
            "language": "de", "subtitles": true, "autoplay": false, "favouriteGenres": ["drama"]
        });
        let preferences: Preferences = from_value(wire.clone()).unwrap();
        assert_eq!(to_value(preferences).unwrap(), wire);
    }
}
