//! The handle of one set of mocks: data, faults, statistics and routers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::middleware::{Next, from_fn};

use crate::backend::Backend;
use crate::call_recorder::CallEvent;
use crate::faults::Fault;
use crate::middleware::{RecorderContext, record_call};
use crate::state::{MockState, Options};
use crate::stats::Stats;
use crate::{auth, control, inventory, order, payment, playback, product, response, review, user};

/// All eight backends. Clones share their state.
#[derive(Clone)]
pub struct Mocks {
    state: Arc<MockState>,
    apps: Arc<Apps>,
}

/// The routers, built on first use. They hold the state, so the state must not hold them.
#[derive(Default)]
struct Apps {
    backends: [OnceLock<Router>; 8],
    control: OnceLock<Router>,
}

impl Mocks {
    /// Creates mocks. Call it inside the tokio runtime whose clock they use.
    pub fn new(options: Options) -> Self {
        Self {
            state: Arc::new(MockState::new(options)),
            apps: Arc::default(),
        }
    }

    /// Activates a fault. It replaces the fault with the same route.
    pub fn set_fault(&self, backend: Backend, fault: Fault) -> Result<(), String> {
        self.state.set_fault(backend, fault)
    }

    /// Removes all faults of one backend, or of all backends.
    pub fn clear_faults(&self, backend: Option<Backend>) {
        self.state.clear_faults(backend);
    }

    /// The active faults of one backend.
    pub fn faults(&self, backend: Backend) -> Vec<Fault> {
        self.state.recorder(backend).faults.lock().list()
    }

    /// The statistics of one backend.
    pub fn stats(&self, backend: Backend) -> Stats {
        self.state.recorder(backend).counters.lock().snapshot()
    }

    /// Calls `observer` for every event of every call from now on, with the call's number. Only one observer is allowed.
    /// It must not hold these mocks.
    pub fn set_observer(
        &self,
        observer: impl Fn(Backend, u64, CallEvent<'_>) + Send + Sync + 'static,
    ) -> Result<(), &'static str> {
        self.state.set_observer(Box::new(observer))
    }

    /// Resets the statistics of all backends.
    pub fn clear_stats(&self) {
        self.state.clear_stats();
    }

    /// Resets the data: carts, orders, payments, reviews, positions, sessions, keys.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Rotates the signing keys. The old keys are published until the next rotation.
    pub fn rotate_keys(&self) {
        self.state.auth.rotate();
    }

    /// An access token for an existing user, the same as after a login.
    pub fn token_for(&self, user: &str) -> Option<String> {
        auth::token_for(&self.state.auth, user)
    }

    /// An access token for any subject. An unknown subject is a customer.
    pub fn mint(&self, sub: &str, ttl: Duration) -> String {
        auth::mint(&self.state.auth, sub, ttl)
    }

    /// The router of one backend, with its call recorder.
    pub(crate) fn app(&self, backend: Backend) -> Router {
        let built = self.apps.backends[backend.index()].get_or_init(|| build(&self.state, backend));
        built.clone()
    }

    /// The router of the control port.
    pub(crate) fn control(&self) -> Router {
        self.apps
            .control
            .get_or_init(|| with_fallbacks(control::routes(self.state.clone())))
            .clone()
    }
}

fn build(state: &Arc<MockState>, backend: Backend) -> Router {
    let routes = match backend {
        Backend::Auth => auth::routes(state.auth.clone()),
        Backend::User => user::routes(state.user.clone()),
        Backend::Product => product::routes(),
        Backend::Order => order::routes(state.order.clone()),
        Backend::Payment => payment::routes(state.payment.clone()),
        Backend::Review => review::routes(state.review.clone()),
        Backend::Inventory => inventory::routes(),
        Backend::Playback => playback::routes(state.playback.clone()),
    };
    let routes = if backend.is_grpc() {
        routes
    } else {
        with_fallbacks(routes)
    };
    let context = RecorderContext {
        state: state.clone(),
        backend,
    };
    routes.layer(from_fn(move |request, next: Next| {
        record_call(context.clone(), request, next)
    }))
}

fn with_fallbacks(routes: Router) -> Router {
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
        let state = Arc::downgrade(&mocks.state);
        drop(mocks);
        assert_eq!(state.strong_count(), 0);
    }
}
