//! The user backend: profiles, preferences, addresses, friends. Each call is one caller's; nothing is kept.

use bff_core::error::codes;
use bff_core::outbound::{Call, Upstream, send};
use bff_core::{Caller, Code, Failure, Fetched, RequestContext};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::product::{Maturity, ProductId};
use crate::{Items, Timestamp, error_mapping};

/// There is no room for one more address.
pub const TOO_MANY_ADDRESSES: Code = Code::new(
    "too_many_addresses",
    409,
    "Too many addresses",
    "The account holds as many addresses as it can.",
    "The caller can mend it by keeping fewer addresses.",
);

bff_core::id! {
    /// A user.
    UserId
}
bff_core::id! {
    /// One of a user's addresses.
    AddressId
}

open_enum! {
    /// What a friend did.
    Action {
        /// Saw it.
        Watched = "watched",
        /// Gave it stars.
        Rated = "rated",
        /// Bought it.
        Bought = "bought",
        ..
        /// Something newer than this gateway.
        Other = "other"
    }
}

/// Who the caller is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Their id.
    pub id: UserId,
    /// Their name.
    pub name: String,
    /// Where to write to.
    pub email: String,
    /// Their role, for instance `customer`.
    pub role: String,
    /// Their market: ISO 3166-1 alpha-2.
    pub region: String,
    /// The most they may see.
    pub maturity: Maturity,
    /// Since when they have an account.
    pub created_at: Timestamp,
}

/// Somebody, as others see them.
#[derive(Clone, Debug, Deserialize)]
pub struct Person {
    /// Their id.
    pub id: UserId,
    /// Their name.
    pub name: String,
}

/// What the caller likes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preferences {
    /// BCP 47.
    pub language: String,
    /// Whether subtitles are on from the start.
    pub subtitles: bool,
    /// Whether the next episode starts by itself.
    pub autoplay: bool,
    /// Ids of genres.
    #[serde(default)]
    pub favourite_genres: Vec<String>,
}

/// One of the caller's addresses.
#[derive(Clone, Debug, Deserialize)]
pub struct Address {
    /// Its id.
    pub id: AddressId,
    /// The address itself.
    #[serde(flatten)]
    pub place: PostalAddress,
}

/// An address, on a letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostalAddress {
    /// Who lives there.
    pub name: String,
    /// Street and number.
    pub street: String,
    /// The town.
    pub city: String,
    /// The postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// What a friend did with a product.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Who.
    pub friend: Person,
    /// With what.
    pub product_id: ProductId,
    /// What.
    pub action: Action,
    /// When.
    pub at: Timestamp,
}

/// The calls about the caller.
#[derive(Clone, Debug)]
pub struct UserClient(Upstream);

impl UserClient {
    /// A client of the backend at `up`.
    pub fn new(up: Upstream) -> Self {
        Self(up)
    }

    /// Who the caller is.
    pub async fn profile(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Profile, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}").caller_id();
        send(cx, &self.0, call).await
    }

    /// What the caller likes.
    pub async fn preferences(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Preferences, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}/preferences").caller_id();
        send(cx, &self.0, call).await
    }

    /// Replaces what the caller likes.
    pub async fn set_preferences(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        wanted: &Preferences,
    ) -> Result<Fetched<Preferences, Caller>, Failure> {
        let call = Call::new(caller.clone(), Method::PUT, "/users/{caller}/preferences")
            .caller_id()
            .json(wanted);
        error_mapping::map_status(send(cx, &self.0, call).await, 422, codes::VALIDATION_FAILED)
    }

    /// Where the caller lives.
    pub async fn addresses(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Items<Address>, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}/addresses").caller_id();
        send(cx, &self.0, call).await
    }

    /// Adds an address.
    pub async fn add_address(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        place: &PostalAddress,
    ) -> Result<Fetched<Address, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/users/{caller}/addresses")
            .caller_id()
            .json(place);
        let outcome = send(cx, &self.0, call).await;
        let outcome = error_mapping::map_status(outcome, 409, TOO_MANY_ADDRESSES);
        error_mapping::map_status(outcome, 422, codes::VALIDATION_FAILED)
    }

    /// The caller's friends.
    pub async fn friends(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Items<Person>, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/users/{caller}/friends").caller_id();
        send(cx, &self.0, call).await
    }

    /// What the caller's friends did, newest first; with one product, or with any.
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
        send(cx, &self.0, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn what_is_known_of_a_caller_decodes() {
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
        assert_eq!(address.place.postal_code, "10115");
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
    fn preferences_go_back_as_they_came() {
        let wire = json!({
            "language": "de", "subtitles": true, "autoplay": false, "favouriteGenres": ["drama"]
        });
        let preferences: Preferences = from_value(wire.clone()).unwrap();
        assert_eq!(to_value(preferences).unwrap(), wire);
    }
}
