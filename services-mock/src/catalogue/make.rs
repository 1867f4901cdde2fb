//! How products and rows are made from word lists by fixed draws.

use super::words::{ADJECTIVES, CATEGORIES, CLOSINGS, HEROES, NOUNS, PARTS, PLACES, TURNS, person};
use super::{Image, Kind, Listed, Maturity, Money, Product, Role};
use crate::clock::Time;
use crate::seeded_rng::SeededRng;

/// Not the mocks' seed: the catalogue is the same for all.
const DRAW: SeededRng = SeededRng(0x0005_ca7a_1096);

/// The rows: id, title.
const ROWS: [(&str, &str); 8] = [
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
    let series = number != 1 && DRAW.below("series", n, 3) == 0;
    let runtime = if series {
        25 + DRAW.below("runtime", n, 35)
    } else {
        80 + DRAW.below("runtime", n, 80)
    };
    Product {
        kind: if series { Kind::Series } else { Kind::Film },
        name: name(number),
        description: description(n),
        category,
        genres: genres(category, n),
        year: u16::try_from(1975 + DRAW.below("year", n, 52)).unwrap_or(2026),
        runtime_minutes: u32::try_from(runtime).unwrap_or(90),
        seasons: series.then(|| u8::try_from(1 + DRAW.below("seasons", n, 8)).unwrap_or(1)),
        maturity: maturity(category, n),
        price: Money::eur(499 + 100 * DRAW.below("price", n, 20)),
        image: Image {
            url: format!("https://img.example/{id}.jpg"),
            width: 1920,
            height: 1080,
        },
        cast: cast(n),
        director: person(DRAW.index("director", n, 340)),
        updated_at: Time::before_june(DRAW.below("updated", n, 60 * 24 * 200)),
        id,
    }
}

/// 24 adjectives times 15 of 30 nouns: every name once.
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
    let hero = DRAW.pick("hero", n, &HEROES).copied().unwrap_or_default();
    let place = DRAW.pick("place", n, &PLACES).copied().unwrap_or_default();
    let turn = DRAW.pick("turn", n, &TURNS).copied().unwrap_or_default();
    let mut text = format!("The story of {hero} {place}. One day {turn}.");
    for extra in 0..DRAW.index("sentences", n, 3) {
        let at = DRAW.index("closing", n, CLOSINGS.len()) + extra;
        text.push(' ');
        text.push_str(CLOSINGS[at % CLOSINGS.len()]);
        text.push('.');
    }
    text
}

fn genres(category: &'static str, n: u64) -> Vec<&'static str> {
    let mut genres = vec![category];
    for extra in 0..=DRAW.below("genres", n, 2) {
        let genre = CATEGORIES[DRAW.index("genre", n * 4 + extra, CATEGORIES.len())].0;
        if !genres.contains(&genre) {
            genres.push(genre);
        }
    }
    genres
}

fn maturity(category: &str, n: u64) -> Maturity {
    match (category, DRAW.below("maturity", n, 4)) {
        ("family" | "animation", _) => Maturity::All,
        ("horror" | "crime" | "thriller", 0..=1) => Maturity::Adult,
        ("horror" | "crime" | "thriller", _) | (_, 0) => Maturity::Teen,
        // `p-1` is the product that every client can open.
        (_, 1) if n != 1 => Maturity::Adult,
        _ => Maturity::All,
    }
}

fn cast(n: u64) -> Vec<Role> {
    let members = 3 + DRAW.below("members", n, 4);
    let first = DRAW.index("actor", n, 340);
    let part = DRAW.index("part", n, PARTS.len());
    let role = |i: usize| Role {
        name: person(first + i * 7),
        role: PARTS[(part + i) % PARTS.len()].to_owned(),
    };
    (0..usize::try_from(members).unwrap_or(3))
        .map(role)
        .collect()
}

/// Every row, `featured` first; each is a filter over the whole catalogue, in a drawn order.
pub(super) fn collections(products: &[Listed]) -> Vec<super::Collection> {
    let rows = ROWS.into_iter().map(|(id, title)| {
        let mut items: Vec<usize> = (0..products.len())
            .filter(|i| belongs(id, &products[*i]))
            .collect();
        items.sort_by_key(|i| (*i != 0, DRAW.bits(id, *i as u64)));
        items.truncate(if id == "featured" { 10 } else { 60 });
        super::Collection { id, title, items }
    });
    rows.collect()
}

fn belongs(row: &str, listed: &Listed) -> bool {
    let (product, n) = (&listed.product, listed.number as u64);
    match row {
        "featured" => n == 1 || DRAW.below("featured", n, 12) == 0,
        "new-releases" => product.year >= 2022,
        "top-rated" => n == 1 || DRAW.below("top", n, 5) == 0,
        "family-night" => product.maturity == Maturity::All,
        "binge-series" => product.kind == Kind::Series,
        "hidden-gems" => listed.key.contains("hidden") || DRAW.below("gems", n, 6) == 0,
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
