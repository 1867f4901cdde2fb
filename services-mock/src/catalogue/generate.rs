//! Generates products and collections from word lists, with fixed random numbers.

use super::entry::{CatalogueEntry, Collection, Image, Kind, Maturity, Money, Product, Role};
use super::words::{
    ADJECTIVES, CATEGORIES, CLOSINGS, HEROES, NOUNS, PARTS, PLACES, TURNS, person_name,
};
use crate::clock::Time;
use crate::seeded_rng::SeededRng;

/// Independent of the mocks' seed: the catalogue is always the same.
const RNG: SeededRng = SeededRng(0x0005_ca7a_1096);

/// The collections: id, title.
const COLLECTIONS: [(&str, &str); 8] = [
    ("featured", "Featured"),
    ("new-releases", "New releases"),
    ("top-rated", "Top rated"),
    ("family-night", "Family night"),
    ("binge-series", "Series to binge"),
    ("hidden-gems", "Hidden gems"),
    ("classics", "Classics"),
    ("under-100-minutes", "Under 100 minutes"),
];

/// Product `p-{number}`.
pub(super) fn product(number: usize) -> Product {
    let n = number as u64;
    let id = format!("p-{number}");
    let category = CATEGORIES[(number - 1) % CATEGORIES.len()].0;
    let series = number != 1 && RNG.below("series", n, 3) == 0;
    let runtime = if series {
        25 + RNG.below("runtime", n, 35)
    } else {
        80 + RNG.below("runtime", n, 80)
    };
    Product {
        kind: if series { Kind::Series } else { Kind::Film },
        name: name(number),
        description: description(n),
        category,
        genres: genres(category, n),
        year: u16::try_from(1975 + RNG.below("year", n, 52)).unwrap_or(2026),
        runtime_minutes: u32::try_from(runtime).unwrap_or(90),
        seasons: series.then(|| u8::try_from(1 + RNG.below("seasons", n, 8)).unwrap_or(1)),
        maturity: maturity(category, n),
        price: Money::eur(499 + 100 * RNG.below("price", n, 20)),
        image: Image {
            url: format!("https://img.example/{id}.jpg"),
            width: 1920,
            height: 1080,
        },
        cast: cast(n),
        director: person_name(RNG.index("director", n, 340)),
        updated_at: Time::before_june(RNG.below("updated", n, 60 * 24 * 200)),
        id,
    }
}

/// Combines 24 adjectives with 15 of 30 nouns each: every name is unique.
fn name(number: usize) -> String {
    let (adjective, round) = (
        (number - 1) % ADJECTIVES.len(),
        (number - 1) / ADJECTIVES.len(),
    );
    format!(
        "The {} {}",
        ADJECTIVES[adjective],
        NOUNS[(adjective * 5 + round) % NOUNS.len()]
    )
}

fn description(n: u64) -> String {
    let hero = RNG.pick("hero", n, &HEROES).copied().unwrap_or_default();
    let place = RNG.pick("place", n, &PLACES).copied().unwrap_or_default();
    let turn = RNG.pick("turn", n, &TURNS).copied().unwrap_or_default();
    let mut text = format!("The story of {hero} {place}. One day {turn}.");
    for extra in 0..RNG.index("sentences", n, 3) {
        let index = RNG.index("closing", n, CLOSINGS.len()) + extra;
        text.push(' ');
        text.push_str(CLOSINGS[index % CLOSINGS.len()]);
        text.push('.');
    }
    text
}

fn genres(category: &'static str, n: u64) -> Vec<&'static str> {
    let mut genres = vec![category];
    for extra in 0..=RNG.below("genres", n, 2) {
        let genre = CATEGORIES[RNG.index("genre", n * 4 + extra, CATEGORIES.len())].0;
        if !genres.contains(&genre) {
            genres.push(genre);
        }
    }
    genres
}

fn maturity(category: &str, n: u64) -> Maturity {
    match (category, RNG.below("maturity", n, 4)) {
        ("family" | "animation", _) => Maturity::All,
        ("horror" | "crime" | "thriller", 0..=1) => Maturity::Adult,
        ("horror" | "crime" | "thriller", _) | (_, 0) => Maturity::Teen,
        // `p-1` is visible to every user.
        (_, 1) if n != 1 => Maturity::Adult,
        _ => Maturity::All,
    }
}

fn cast(n: u64) -> Vec<Role> {
    let members = 3 + RNG.below("members", n, 4);
    let first = RNG.index("actor", n, 340);
    let part = RNG.index("part", n, PARTS.len());
    let role = |i: usize| Role {
        name: person_name(first + i * 7),
        role: PARTS[(part + i) % PARTS.len()].to_owned(),
    };
    (0..usize::try_from(members).unwrap_or(3))
        .map(role)
        .collect()
}

/// All collections, `featured` first. Each one filters the catalogue and has a random order.
pub(super) fn collections(products: &[CatalogueEntry]) -> Vec<Collection> {
    let collections = COLLECTIONS.into_iter().map(|(id, title)| {
        let mut items: Vec<usize> = (0..products.len())
            .filter(|i| belongs_to(id, &products[*i]))
            .collect();
        items.sort_by_key(|i| (*i != 0, RNG.bits(id, *i as u64)));
        items.truncate(if id == "featured" { 10 } else { 60 });
        Collection { id, title, items }
    });
    collections.collect()
}

fn belongs_to(collection: &str, entry: &CatalogueEntry) -> bool {
    let (product, n) = (&entry.product, entry.number as u64);
    match collection {
        "featured" => n == 1 || RNG.below("featured", n, 12) == 0,
        "new-releases" => product.year >= 2022,
        "top-rated" => n == 1 || RNG.below("top", n, 5) == 0,
        "family-night" => product.maturity == Maturity::All,
        "binge-series" => product.kind == Kind::Series,
        "hidden-gems" => entry.lower_name.contains("hidden") || RNG.below("gems", n, 6) == 0,
        "classics" => product.year < 1990,
        _ => product.kind == Kind::Film && product.runtime_minutes < 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_product_is_for_everyone() {
        let first = product(1);
        assert_eq!(
            (first.name.as_str(), first.maturity),
            ("The Quiet Harbour", Maturity::All)
        );
        assert_eq!(first.seasons, None);
    }
}
