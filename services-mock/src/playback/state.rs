//! The playback positions.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::proto::Position;
use crate::catalogue::{CATALOGUE, CatalogueEntry, PRODUCTS};
use crate::clock::{Clock, Time};
use crate::seeded_rng::SeededRng;

/// Independent of the mocks' seed: the initial positions are always the same.
const RNG: SeededRng = SeededRng(0x000_91a7);

/// The playback positions by user, newest first.
pub(crate) struct State {
    pub(super) clock: Clock,
    positions: Mutex<BTreeMap<String, Vec<Position>>>,
}

impl State {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            positions: Mutex::default(),
        }
    }

    pub(crate) fn reset(&self) {
        self.positions.lock().clear();
    }

    pub(super) fn list(&self, user: &str, limit: usize) -> Vec<Position> {
        let mut users = self.positions.lock();
        positions_of(&mut users, user)
            .iter()
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn save(&self, user: &str, position: Position) {
        let mut users = self.positions.lock();
        let positions = positions_of(&mut users, user);
        positions.retain(|p| p.product_id != position.product_id);
        positions.insert(0, position);
    }
}

fn positions_of<'a>(
    users: &'a mut BTreeMap<String, Vec<Position>>,
    user: &str,
) -> &'a mut Vec<Position> {
    if !users.contains_key(user) {
        users.insert(user.to_owned(), initial_positions(user));
    }
    users.entry(user.to_owned()).or_default()
}

/// The initial positions of a user. A child profile has only `p-1`.
fn initial_positions(user: &str) -> Vec<Position> {
    let count = match user {
        "kim" => 1,
        "ada" => 6,
        _ => 3,
    };
    let drawn = (0..count).filter_map(|n| {
        let drawn = 1 + RNG.index(&format!("{user} product"), n, PRODUCTS);
        let number = if n == 0 { 1 } else { drawn };
        let entry = CATALOGUE.by_id(&format!("p-{number}"))?;
        let share = 10 + RNG.below(&format!("{user} share"), n, 80);
        let position_s = duration_s(entry) / 100 * u32::try_from(share).ok()?;
        Some(new_position(
            entry,
            position_s,
            Time::before_june(60 * (1 + n * 26)),
        ))
    });
    let mut positions: Vec<Position> = Vec::new();
    for position in drawn {
        if positions
            .iter()
            .all(|p| p.product_id != position.product_id)
        {
            positions.push(position);
        }
    }
    positions
}

pub(super) fn new_position(entry: &CatalogueEntry, position_s: u32, at: Time) -> Position {
    Position {
        product_id: entry.product.id.clone(),
        position_s,
        duration_s: duration_s(entry),
        updated_at: at.unix(),
    }
}

pub(super) fn duration_s(entry: &CatalogueEntry) -> u32 {
    entry.product.runtime_minutes * 60
}
