//! The users: four demo accounts, forty generated users, and `s-1` to `s-999999` for load tests.

use std::sync::LazyLock;

use serde::Serialize;

use crate::catalogue::{PRODUCTS, person_name};
use crate::clock::Time;
use crate::seeded_rng::SeededRng;

/// Independent of the mocks' seed: the users are always the same.
const RNG: SeededRng = SeededRng(0x00be_0b1e);
/// The number of generated users: `u-1` to `u-40`.
const GENERATED: u64 = 40;
const REGIONS: [&str; 6] = ["DE", "AT", "CH", "FR", "GB", "US"];

/// All listed users, demo accounts first.
pub(crate) static USERS: LazyLock<Vec<User>> = LazyLock::new(|| {
    let demo = ["ada", "ben", "kim", "root"].into_iter().map(demo);
    demo.chain((1..=GENERATED).map(generated)).collect()
});

/// A profile in the format described in `user.rs`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) role: &'static str,
    pub(crate) region: &'static str,
    /// The highest maturity level this profile may watch.
    pub(crate) maturity: &'static str,
    pub(crate) created_at: Time,
}

/// A reference to a user in the data of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UserRef {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// An action of a friend with a product.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activity {
    pub(crate) friend: UserRef,
    pub(crate) product_id: String,
    pub(crate) action: &'static str,
    pub(crate) at: Time,
}

/// The user with this id, if there is one.
pub(crate) fn find(id: &str) -> Option<User> {
    USERS
        .iter()
        .find(|p| p.id == id)
        .cloned()
        .or_else(|| synthetic(id))
}

/// The friends of a user, by id.
pub(crate) fn friends(id: &str) -> Vec<UserRef> {
    let friends = USERS
        .iter()
        .filter(|other| other.id != id && are_friends(id, &other.id));
    friends.map(user_ref).collect()
}

/// The actions of a user's friends, newest first.
pub(crate) fn friends_activity(id: &str) -> Vec<Activity> {
    let mut all: Vec<Activity> = friends(id).into_iter().flat_map(activity).collect();
    all.sort_by_key(|a| std::cmp::Reverse(a.at));
    all
}

/// A generated user, for authors of reviews.
pub(crate) fn author(number: usize) -> UserRef {
    let generated = usize::try_from(GENERATED).unwrap_or(1);
    USERS
        .get(4 + number % generated)
        .map_or_else(|| user_ref(&demo("ben")), user_ref)
}

pub(crate) fn user_ref(user: &User) -> UserRef {
    UserRef {
        id: user.id.clone(),
        name: user.name.clone(),
    }
}

/// Friendship is mutual and random for each pair. `kim` has no friends; `ada` and `ben` are friends.
fn are_friends(a: &str, b: &str) -> bool {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    match (a, b) {
        ("ada", "ben") => true,
        ("kim" | "root", _) | (_, "kim" | "root") => false,
        ("ben", other) if other.starts_with("s-") => true,
        _ => RNG.below(&format!("{a} {b}"), 0, 8) == 0,
    }
}

fn activity(friend: UserRef) -> Vec<Activity> {
    let drawn = (0..6).map(|n| {
        let number = 1 + RNG.index(&format!("{} product", friend.id), n, PRODUCTS);
        let action =
            ["watched", "rated", "bought"][RNG.index(&format!("{} action", friend.id), n, 3)];
        let minutes = RNG.below(&format!("{} at", friend.id), n, 60 * 24 * 60);
        Activity {
            friend: friend.clone(),
            product_id: format!("p-{number}"),
            action,
            at: Time::before_june(minutes),
        }
    });
    let mut all: Vec<Activity> = drawn.collect();
    if friend.id == "ben" {
        let at = Time::before_june(95);
        all.push(Activity {
            friend,
            product_id: "p-1".to_owned(),
            action: "watched",
            at,
        });
    }
    all
}

fn demo(id: &str) -> User {
    let (name, role, region, maturity) = match id {
        "ada" => ("Ada Lovelace", "customer", "DE", "adult"),
        "kim" => ("Kim", "customer", "DE", "all"),
        "root" => ("Root", "ADMIN", "DE", "adult"),
        _ => ("Ben Blake", "customer", "AT", "adult"),
    };
    let created_at = Time::before_june(60 * 24 * 400);
    User {
        id: id.to_owned(),
        name: name.to_owned(),
        email: format!("{id}@shop.example"),
        role,
        region,
        maturity,
        created_at,
    }
}

fn generated(number: u64) -> User {
    let id = format!("u-{number}");
    let index = usize::try_from(number).unwrap_or(0);
    User {
        name: person_name(index * 3),
        email: format!("{id}@shop.example"),
        role: "customer",
        region: REGIONS[index % REGIONS.len()],
        maturity: ["adult", "adult", "teen"][index % 3],
        created_at: Time::before_june(60 * 24 * RNG.below("created", number, 900)),
        id,
    }
}

fn synthetic(id: &str) -> Option<User> {
    let number: u64 = id.strip_prefix("s-")?.parse().ok()?;
    let exists = (1..=999_999).contains(&number) && id == format!("s-{number}");
    exists.then(|| User {
        id: id.to_owned(),
        email: format!("{id}@shop.example"),
        ..generated(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ben_is_adas_friend_and_watched_the_first_product() {
        assert!(friends("ada").iter().any(|f| f.id == "ben"));
        assert!(friends("ben").iter().any(|f| f.id == "ada"));
        assert!(friends("kim").is_empty());
        let activity = friends_activity("ada")
            .into_iter()
            .find(|a| a.product_id == "p-1" && a.friend.id == "ben");
        assert_eq!(activity.unwrap().action, "watched");
    }

    #[test]
    fn synthetic_users_exist_but_are_not_listed() {
        assert!(find("s-77").is_some() && find("s-077").is_none() && find("s-0").is_none());
        assert!(!friends("s-77").is_empty());
        assert!(USERS.len() == 44 && USERS.iter().all(|p| !p.id.starts_with("s-")));
    }
}
