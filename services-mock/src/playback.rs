//! The playback backend (50051): gRPC, `proto/playback.proto` is its wire.
//!
//! - `GetManifest(product_id, device_class, drm?)`: needs no caller; `NOT_FOUND`, `INVALID_ARGUMENT`
//! - `ListPositions(limit)`, `SavePosition(product_id, position_s)`, `Heartbeat(stream)`: need `x-user-id`
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

use crate::catalogue::{CATALOGUE, Listed, PRODUCTS};
use crate::clock::Time;
use crate::seeded_rng::SeededRng;
use crate::world::MockState;

use proto::Position;
use proto::playback_server::PlaybackServer;

/// Not the mocks' seed: the first positions are the same for all.
const DRAW: SeededRng = SeededRng(0x000_91a7);

pub(crate) fn routes(world: Arc<MockState>) -> Router<Arc<MockState>> {
    let server = PlaybackServer::new(service::Service { world });
    tonic::service::Routes::new(server)
        .into_axum_router()
        .with_state(())
}

/// How far everybody has come, by user; newest first.
#[derive(Default)]
pub(crate) struct State(Mutex<BTreeMap<String, Vec<Position>>>);

impl State {
    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }

    fn list(&self, user: &str, limit: usize) -> Vec<Position> {
        let mut users = self.0.lock();
        own(&mut users, user).iter().take(limit).cloned().collect()
    }

    fn save(&self, user: &str, position: Position) {
        let mut users = self.0.lock();
        let positions = own(&mut users, user);
        positions.retain(|p| p.product_id != position.product_id);
        positions.insert(0, position);
    }
}

fn own<'a>(users: &'a mut BTreeMap<String, Vec<Position>>, user: &str) -> &'a mut Vec<Position> {
    if !users.contains_key(user) {
        users.insert(user.to_owned(), first_positions(user));
    }
    users.entry(user.to_owned()).or_default()
}

/// What a user had started before the mocks did. A child profile had only `p-1`.
fn first_positions(user: &str) -> Vec<Position> {
    let count = match user {
        "kim" => 1,
        "ada" => 6,
        _ => 3,
    };
    let drawn = (0..count).filter_map(|n| {
        let drawn = 1 + DRAW.index(&format!("{user} product"), n, PRODUCTS);
        let number = if n == 0 { 1 } else { drawn };
        let listed = CATALOGUE.by_id(&format!("p-{number}"))?;
        let share = 10 + DRAW.below(&format!("{user} share"), n, 80);
        let position_s = duration_s(listed) / 100 * u32::try_from(share).ok()?;
        Some(position(
            listed,
            position_s,
            Time::before_june(60 * (1 + n * 26)),
        ))
    });
    let mut positions: Vec<Position> = Vec::new();
    for one in drawn {
        if positions.iter().all(|p| p.product_id != one.product_id) {
            positions.push(one);
        }
    }
    positions
}

fn position(listed: &Listed, position_s: u32, at: Time) -> Position {
    Position {
        product_id: listed.product.id.clone(),
        position_s,
        duration_s: duration_s(listed),
        updated_at: at.unix(),
    }
}

fn duration_s(listed: &Listed) -> u32 {
    listed.product.runtime_minutes * 60
}
