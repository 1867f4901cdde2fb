//! The users that exist: four demo accounts, forty generated ones, and `s-1` to `s-999999` for load tests.

use std::sync::LazyLock;

use serde::Serialize;

use crate::catalogue::{PRODUCTS, person};
use crate::clock::Time;
use crate::seeded_rng::SeededRng;

/// Not the mocks' seed: the people are the same for all.
const DRAW: SeededRng = SeededRng(0x00be_0b1e);
/// How many generated users there are: `u-1` to `u-40`.
const GENERATED: u64 = 40;
const REGIONS: [&str; 6] = ["DE", "AT", "CH", "FR", "GB", "US"];

/// Every user with data of their own, demo accounts first.
pub(crate) static PEOPLE: LazyLock<Vec<Person>> = LazyLock::new(|| {
    let demo = ["ada", "ben", "kim", "root"].into_iter().map(demo);
    demo.chain((1..=GENERATED).map(generated)).collect()
});

/// A profile; the wire is described in `user.rs`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) role: &'static str,
    pub(crate) region: &'static str,
    /// The highest maturity level this profile may watch.
    pub(crate) maturity: &'static str,
    pub(crate) created_at: Time,
}

/// Somebody named in another's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Something that a friend did with a product.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activity {
    pub(crate) friend: Named,
    pub(crate) product_id: String,
    pub(crate) action: &'static str,
    pub(crate) at: Time,
}

/// The user with this id, if there is one.
pub(crate) fn find(id: &str) -> Option<Person> {
    PEOPLE
        .iter()
        .find(|p| p.id == id)
        .cloned()
        .or_else(|| synthetic(id))
}

/// The friends of a user, by id.
pub(crate) fn friends(id: &str) -> Vec<Named> {
    let friends = PEOPLE
        .iter()
        .filter(|other| other.id != id && are_friends(id, &other.id));
    friends.map(named).collect()
}

/// What the friends of a user did, newest first.
pub(crate) fn friends_activity(id: &str) -> Vec<Activity> {
    let mut all: Vec<Activity> = friends(id).into_iter().flat_map(activity).collect();
    all.sort_by_key(|a| std::cmp::Reverse(a.at));
    all
}

/// A generated user, for authors of reviews.
pub(crate) fn author(number: usize) -> Named {
    let generated = usize::try_from(GENERATED).unwrap_or(1);
    PEOPLE
        .get(4 + number % generated)
        .map_or_else(|| named(&demo("ben")), named)
}

pub(crate) fn named(person: &Person) -> Named {
    Named {
        id: person.id.clone(),
        name: person.name.clone(),
    }
}

/// Friendship is mutual: a draw over the pair. `kim` has none, `ada` and `ben` are friends.
fn are_friends(a: &str, b: &str) -> bool {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    match (a, b) {
        ("ada", "ben") => true,
        ("kim" | "root", _) | (_, "kim" | "root") => false,
        ("ben", other) if other.starts_with("s-") => true,
        _ => DRAW.below(&format!("{a} {b}"), 0, 8) == 0,
    }
}

fn activity(friend: Named) -> Vec<Activity> {
    let drawn = (0..6).map(|n| {
        let number = 1 + DRAW.index(&format!("{} product", friend.id), n, PRODUCTS);
        let action =
            ["watched", "rated", "bought"][DRAW.index(&format!("{} action", friend.id), n, 3)];
        let minutes = DRAW.below(&format!("{} at", friend.id), n, 60 * 24 * 60);
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

fn demo(id: &str) -> Person {
    let (name, role, region, maturity) = match id {
        "ada" => ("Ada Lovelace", "customer", "DE", "adult"),
        "kim" => ("Kim", "customer", "DE", "all"),
        "root" => ("Root", "ADMIN", "DE", "adult"),
        _ => ("Ben Blake", "customer", "AT", "adult"),
    };
    let created_at = Time::before_june(60 * 24 * 400);
    Person {
        id: id.to_owned(),
        name: name.to_owned(),
        email: format!("{id}@shop.example"),
        role,
        region,
        maturity,
        created_at,
    }
}

fn generated(number: u64) -> Person {
    let id = format!("u-{number}");
    let at = usize::try_from(number).unwrap_or(0);
    Person {
        name: person(at * 3),
        email: format!("{id}@shop.example"),
        role: "customer",
        region: REGIONS[at % REGIONS.len()],
        maturity: ["adult", "adult", "teen"][at % 3],
        created_at: Time::before_june(60 * 24 * DRAW.below("created", number, 900)),
        id,
    }
}

fn synthetic(id: &str) -> Option<Person> {
    let number: u64 = id.strip_prefix("s-")?.parse().ok()?;
    let known = (1..=999_999).contains(&number) && id == format!("s-{number}");
    known.then(|| Person {
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
        let seen = friends_activity("ada")
            .into_iter()
            .find(|a| a.product_id == "p-1" && a.friend.id == "ben");
        assert_eq!(seen.unwrap().action, "watched");
    }

    #[test]
    fn synthetic_users_exist_without_being_listed() {
        assert!(find("s-77").is_some() && find("s-077").is_none() && find("s-0").is_none());
        assert!(!friends("s-77").is_empty());
        assert!(PEOPLE.len() == 44 && PEOPLE.iter().all(|p| !p.id.starts_with("s-")));
    }
}
