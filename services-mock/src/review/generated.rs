//! The generated reviews, the same in every process.

use std::sync::LazyLock;

use super::wire::Review;
use crate::catalogue::PRODUCTS;
use crate::clock::Time;
use crate::seeded_rng::SeededRng;
use crate::users;

const RNG: SeededRng = SeededRng(0x000e_71e3);
/// The ratings of `p-1` and their numbers: 37 ratings with a mean of 4.2.
const FIRST_PRODUCT_RATINGS: [(u8, usize); 5] = [(5, 17), (4, 13), (3, 5), (2, 1), (1, 1)];

const GOOD: [(&str, &str); 5] = [
    (
        "Worth every minute",
        "I started it on a rainy evening and did not look up once. The cast is a joy.",
    ),
    (
        "A quiet triumph",
        "It trusts its audience, and the ending is earned. I have told everybody about it.",
    ),
    (
        "Watch it twice",
        "So many small things only show the second time. The score stays with you for days.",
    ),
    (
        "Exactly my kind",
        "Warm, clever and never too long. My whole family asked for more.",
    ),
    (
        "Beautifully made",
        "Every frame could hang on a wall. The story holds it all together.",
    ),
];

const FAIR: [(&str, &str); 4] = [
    (
        "Good, with reservations",
        "The middle sags a little, but the last half hour makes up for it.",
    ),
    (
        "Fine for an evening",
        "Nothing new, nothing wrong. The leads have charm enough to carry it.",
    ),
    (
        "Half of a great thing",
        "I loved the first part. Then it explains what it should have left alone.",
    ),
    (
        "Better than the poster",
        "I expected less and was pleasantly surprised, most of the time.",
    ),
];

const POOR: [(&str, &str); 3] = [
    (
        "Not for me",
        "I could not find my way into it. The pace is glacial and the jokes are old.",
    ),
    (
        "A missed chance",
        "A fine idea, lost in too many side plots. I stopped caring halfway.",
    ),
    (
        "Too loud, too long",
        "Somebody should have cut forty minutes. The sound mix did not help.",
    ),
];

static GENERATED: LazyLock<Vec<Vec<Review>>> =
    LazyLock::new(|| (1..=PRODUCTS).map(reviews).collect());

/// The generated reviews of a product, newest first.
pub(super) fn of(number: usize) -> &'static [Review] {
    GENERATED.get(number - 1).map_or(&[], Vec::as_slice)
}

fn reviews(number: usize) -> Vec<Review> {
    let mut ratings = ratings(number);
    ratings.sort_by_key(|(_, draw)| *draw);
    let newest_first = ratings.iter().enumerate().rev();
    newest_first
        .map(|(i, (rating, _))| review(number, i, *rating))
        .collect()
}

/// Ratings with the random number that orders them.
fn ratings(number: usize) -> Vec<(u8, u64)> {
    let n = number as u64;
    let order = |i: usize| RNG.bits("order", n * 100 + i as u64);
    if number == 1 {
        let all = FIRST_PRODUCT_RATINGS
            .into_iter()
            .flat_map(|(rating, times)| vec![rating; times]);
        return all
            .enumerate()
            .map(|(i, rating)| (rating, order(i)))
            .collect();
    }
    let count = 3 + RNG.index("count", n, 26);
    let best = 3 + RNG.below("best", n, 3);
    let rating = |i: usize| {
        let off = RNG.below("off", n * 100 + i as u64, 3);
        u8::try_from(best.saturating_sub(off).max(1)).unwrap_or(3)
    };
    (0..count).map(|i| (rating(i), order(i))).collect()
}

/// The `i`-th review of a product, counted from its oldest.
fn review(number: usize, i: usize, rating: u8) -> Review {
    let n = number as u64 * 100 + i as u64;
    let words: &[(&str, &str)] = match rating {
        5 | 4 => &GOOD,
        3 => &FAIR,
        _ => &POOR,
    };
    let (title, text) = RNG.pick("words", n, words).copied().unwrap_or_default();
    // Each of up to 40 reviews has its own time window, so the order by index is the order by age.
    let window = 60 * 24 * 7;
    let age = window * (40 - i as u64) + RNG.below("age", n, window);
    Review {
        id: format!("r-{number}-{}", i + 1),
        product_id: format!("p-{number}"),
        author: users::author(number * 11 + i),
        rating,
        title: title.to_owned(),
        text: text.to_owned(),
        created_at: Time::before_june(age),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_has_reviews_newest_first() {
        assert_eq!(of(1).len(), 37);
        for number in 1..=PRODUCTS {
            assert!(of(number).len() >= 3);
            assert!(
                of(number)
                    .windows(2)
                    .all(|w| w[0].created_at > w[1].created_at)
            );
        }
    }
}
