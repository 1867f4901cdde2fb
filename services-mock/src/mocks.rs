//! The handle on one set of fake backends: their data, faults, counts and apps.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::middleware::{Next, from_fn};
use time::OffsetDateTime;

use crate::backend::Backend;
use crate::call_recorder::{CallEvent, Watched, watch};
use crate::faults::Fault;
use crate::stats::Stats;
use crate::world::MockState;
use crate::{auth, control, inventory, order, payment, playback, product, response, review, user};

/// What a set of mocks starts from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every draw (fault rates, jitter, ids, opaque tokens) follows from it.
    pub seed: u64,
    /// The `iss` of every token, and the base of the addresses in the discovery document.
    pub issuer: String,
    /// The wall time at creation; from there on tokio's clock counts.
    pub epoch: OffsetDateTime,
}

/// All eight backends. Clones share everything.
#[derive(Clone)]
pub struct Mocks {
    world: Arc<MockState>,
    apps: Arc<Apps>,
}

/// The routers, each built when it is first asked for. They hold the world, so the world may not hold them.
#[derive(Default)]
struct Apps {
    backends: [OnceLock<Router>; 8],
    control: OnceLock<Router>,
}

impl Mocks {
    /// Fresh mocks. Create them inside the runtime whose clock they are to follow.
    pub fn new(options: Options) -> Self {
        Self {
            world: Arc::new(MockState::new(options)),
            apps: Arc::default(),
        }
    }

    /// Puts a fault in force, in the place of the one with the same route.
    pub fn set_fault(&self, backend: Backend, fault: Fault) -> Result<(), String> {
        self.world.set_fault(backend, fault)
    }

    /// Ends every fault of one backend, or of all.
    pub fn clear_faults(&self, backend: Option<Backend>) {
        self.world.clear_faults(backend);
    }

    /// The faults in force at one backend.
    pub fn faults(&self, backend: Backend) -> Vec<Fault> {
        self.world.probe(backend).faults.lock().list()
    }

    /// What reached one backend.
    pub fn stats(&self, backend: Backend) -> Stats {
        self.world.probe(backend).counters.lock().snapshot()
    }

    /// Tells `witness` every moment of every call from now on, with the call's number. There is one at most; it may not
    /// hold these mocks.
    pub fn watched_by(
        &self,
        witness: impl Fn(Backend, u64, CallEvent<'_>) + Send + Sync + 'static,
    ) -> Result<(), &'static str> {
        self.world.watched_by(Box::new(witness))
    }

    /// Counts from nothing again, at every backend.
    pub fn clear_stats(&self) {
        self.world.clear_stats();
    }

    /// The data back to the start: carts, orders, payments, reviews, positions, sessions, keys.
    pub fn reset(&self) {
        self.world.reset();
    }

    /// New signing keys; the old ones stay published until the next rotation.
    pub fn rotate_keys(&self) {
        self.world.auth.rotate();
    }

    /// An access token for a user that exists, as a login would give it.
    pub fn token_for(&self, user: &str) -> Option<String> {
        auth::token_for(&self.world, user)
    }

    /// An access token for any subject, a synthetic customer if need be.
    pub fn mint(&self, sub: &str, ttl: Duration) -> String {
        auth::mint(&self.world, sub, ttl)
    }

    /// The app of one backend, watched.
    pub(crate) fn app(&self, backend: Backend) -> Router {
        let built = self.apps.backends[backend.index()].get_or_init(|| build(&self.world, backend));
        built.clone()
    }

    /// The app of the control port.
    pub(crate) fn control(&self) -> Router {
        self.apps
            .control
            .get_or_init(|| with_fallbacks(control::routes()).with_state(self.world.clone()))
            .clone()
    }
}

fn build(world: &Arc<MockState>, backend: Backend) -> Router {
    let routes = match backend {
        Backend::Auth => auth::routes(),
        Backend::User => user::routes(),
        Backend::Product => product::routes(),
        Backend::Order => order::routes(),
        Backend::Payment => payment::routes(),
        Backend::Review => review::routes(),
        Backend::Inventory => inventory::routes(),
        Backend::Playback => playback::routes(world.clone()),
    };
    let routes = if backend.is_grpc() {
        routes
    } else {
        with_fallbacks(routes)
    };
    let watched = Watched {
        world: world.clone(),
        backend,
    };
    let layer = from_fn(move |request, next: Next| watch(watched.clone(), request, next));
    routes.with_state(world.clone()).layer(layer)
}

fn with_fallbacks(routes: Router<Arc<MockState>>) -> Router<Arc<MockState>> {
    routes
        .fallback(response::no_route)
        .method_not_allowed_fallback(response::wrong_method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropping_the_last_handle_frees_everything() {
        let epoch = time::macros::datetime!(2026-11-23 10:00 UTC);
        let mocks = Mocks::new(Options {
            seed: 1,
            issuer: String::new(),
            epoch,
        });
        for backend in Backend::ALL {
            drop(mocks.app(backend));
        }
        drop(mocks.control());
        let world = Arc::downgrade(&mocks.world);
        drop(mocks);
        assert_eq!(world.strong_count(), 0);
    }
}
