//! The playback backend (50051), over gRPC. Its API is in `proto/playback.proto`.
//!
//! - `GetManifest(product_id, device_class, drm?)`: not personal; `NOT_FOUND`, `INVALID_ARGUMENT`
//! - `ListPositions(limit)`, `SavePosition(product_id, position_s)`, `Heartbeat(stream)`: require `x-user-id`
//!   metadata (`UNAUTHENTICATED`)

mod service;

#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::pedantic,
    reason = "generated"
)]
pub(crate) mod proto {
    tonic::include_proto!("playback.v1");
}

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use parking_lot::Mutex;

use crate::catalogue::{CATALOGUE, CatalogueEntry, PRODUCTS};
use crate::clock::Time;
use crate::seeded_rng::SeededRng;
use crate::state::MockState;

use proto::Position;
use proto::playback_server::PlaybackServer;

/// Independent of the mocks' seed: the initial positions are always the same.
const RNG: SeededRng = SeededRng(0x000_91a7);

pub(crate) fn routes(state: Arc<MockState>) -> Router<Arc<MockState>> {
    let server = PlaybackServer::new(service::Service { state });
    tonic::service::Routes::new(server)
        .into_axum_router()
        .with_state(())
}

/// The playback positions by user, newest first.
#[derive(Default)]
pub(crate) struct State(Mutex<BTreeMap<String, Vec<Position>>>);

impl State {
    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }

    fn list(&self, user: &str, limit: usize) -> Vec<Position> {
        let mut users = self.0.lock();
        positions_of(&mut users, user)
            .iter()
            .take(limit)
            .cloned()
            .collect()
    }

    fn save(&self, user: &str, position: Position) {
        let mut users = self.0.lock();
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

fn new_position(entry: &CatalogueEntry, position_s: u32, at: Time) -> Position {
    Position {
        product_id: entry.product.id.clone(),
        position_s,
        duration_s: duration_s(entry),
        updated_at: at.unix(),
    }
}

fn duration_s(entry: &CatalogueEntry) -> u32 {
    entry.product.runtime_minutes * 60
}
