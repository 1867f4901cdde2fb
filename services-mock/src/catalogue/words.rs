//! The word lists of names and descriptions.

/// The categories: id, name.
pub(crate) const CATEGORIES: [(&str, &str); 12] = [
    ("drama", "Drama"),
    ("comedy", "Comedy"),
    ("thriller", "Thriller"),
    ("science-fiction", "Science Fiction"),
    ("documentary", "Documentary"),
    ("family", "Family"),
    ("animation", "Animation"),
    ("romance", "Romance"),
    ("horror", "Horror"),
    ("crime", "Crime"),
    ("adventure", "Adventure"),
    ("history", "History"),
];

pub(super) const ADJECTIVES: [&str; 24] = [
    "Quiet",
    "Silent",
    "Golden",
    "Hidden",
    "Broken",
    "Distant",
    "Crimson",
    "Winter",
    "Lost",
    "Burning",
    "Secret",
    "Midnight",
    "Empty",
    "Electric",
    "Paper",
    "Northern",
    "Wild",
    "Forgotten",
    "Glass",
    "Second",
    "Endless",
    "Hollow",
    "Brave",
    "Velvet",
];

pub(super) const NOUNS: [&str; 30] = [
    "Harbour",
    "Garden",
    "River",
    "Letter",
    "Kingdom",
    "Signal",
    "Orchard",
    "Station",
    "Island",
    "Mirror",
    "Voyage",
    "Empire",
    "Summer",
    "Witness",
    "Bridge",
    "Lantern",
    "Promise",
    "Shadow",
    "Mountain",
    "Theatre",
    "Frontier",
    "Detective",
    "Orchestra",
    "Horizon",
    "Castle",
    "Stranger",
    "Machine",
    "Valley",
    "Machinist",
    "Tide",
];

pub(super) const HEROES: [&str; 12] = [
    "a retired lighthouse keeper",
    "a young cartographer",
    "an honest forger",
    "two estranged sisters",
    "a night-shift radio host",
    "a botanist with a secret",
    "the last ferry captain",
    "a stubborn detective",
    "an orphaned inventor",
    "a travelling theatre company",
    "a disgraced surgeon",
    "three childhood friends",
];

pub(super) const PLACES: [&str; 10] = [
    "on the northern coast",
    "in a town that no map shows",
    "aboard a failing station",
    "between two rival families",
    "in the summer of the great drought",
    "under a city that never sleeps",
    "at the edge of the empire",
    "in a valley cut off by snow",
    "on the longest train in the state",
    "behind the curtain of an old theatre",
];

pub(super) const TURNS: [&str; 10] = [
    "a letter arrives thirty years late",
    "the harbour freezes over",
    "a stranger claims the inheritance",
    "every clock stops at once",
    "the only observer disappears",
    "an old promise falls due",
    "the signal returns",
    "the bridge is closed for good",
    "a painting turns out to be a map",
    "nobody remembers yesterday",
];

pub(super) const CLOSINGS: [&str; 8] = [
    "What follows changes all of them",
    "Nothing is as simple as it was in the morning",
    "The truth costs more than anybody meant to pay",
    "It is funnier than it has any right to be",
    "The last act was shot in a single night",
    "Nobody leaves the way they came",
    "The score alone is worth the evening",
    "A story about second chances",
];

pub(super) const PARTS: [&str; 10] = [
    "The Keeper",
    "Inspector Vale",
    "Mara",
    "The Captain",
    "Dr. Lind",
    "Old Tom",
    "Elsa",
    "The Stranger",
    "Young Henry",
    "The Conductor",
];

const FIRST: [&str; 20] = [
    "Anna", "Bruno", "Clara", "David", "Elena", "Felix", "Grace", "Hugo", "Iris", "Jonas", "Klara",
    "Leon", "Maya", "Noah", "Olivia", "Paul", "Rosa", "Simon", "Tessa", "Victor",
];

const LAST: [&str; 17] = [
    "Adler", "Baker", "Costa", "Dubois", "Egger", "Fischer", "Greene", "Hofer", "Ivers", "Jansen",
    "Keller", "Lambert", "Moreau", "Novak", "Okafor", "Price", "Rossi",
];

/// One of 340 names. Numbers below 340 have different names.
pub(crate) fn person_name(number: usize) -> String {
    let number = number % (FIRST.len() * LAST.len());
    format!(
        "{} {}",
        FIRST[number % FIRST.len()],
        LAST[number % LAST.len()]
    )
}
