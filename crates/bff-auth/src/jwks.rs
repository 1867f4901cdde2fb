//! The issuer's keys (JWKS). They are fetched on the first use, when they are old, and when a token has an unknown key.
//!
//! At most one fetch runs at a time, and fetches start at least `jwks_min_refresh_interval` apart. A failed fetch does
//! not change the keys: an issuer that is down must not sign out all users.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::AuthError;
use super::config::Config;
use bff_context::context::RequestContext;
use bff_context::context::{Id, Reason, validate_id};
use bff_context::error::{Error, codes};
use bff_context::scope::Public;
use bff_upstream::GatewayHandles;
use bff_upstream::endpoints::discovery::InitialResolution;
use bff_upstream::{Call, Upstream};
use key_set::{Document, Key, KeySet};

pub use key_set::Algorithm;

pub(super) mod key_set;

/// The name of the JWKS backend in metrics.
const ISSUER: &str = "auth";
/// Time until the next fetch while no keys are available: until then no token can be verified.
const FIRST_KEYS_RETRY: Duration = Duration::from_secs(1);

/// The issuer's keys. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Jwks(Arc<JwksState>);

#[derive(Debug)]
struct JwksState {
    shared: Arc<GatewayHandles>,
    issuer: Upstream,
    document: DocumentName,
    max_age: Duration,
    min_interval: Duration,
    /// Time limit for one fetch: two attempts.
    fetch_timeout: Duration,
    current: ArcSwapOption<FetchedKeys>,
    fetch_state: Mutex<FetchState>,
}

/// The result of the last successful fetch.
#[derive(Debug)]
struct FetchedKeys {
    set: KeySet,
    fetched_at: Instant,
}

#[derive(Debug, Default)]
struct FetchState {
    started_at: Option<Instant>,
    running: Option<(AbortHandle, SharedFetch)>,
    /// The cause if the last fetch failed, for the log.
    error: Option<String>,
}

/// A running fetch. All waiting requests share it, and none of them can cancel it.
type SharedFetch = SharedFuture<BoxFuture<'static, ()>>;

/// A key and its generation.
pub(super) struct SelectedKey {
    pub(super) key: Arc<Key>,
    pub(super) generation: u64,
}

impl Jwks {
    /// The keys at the configured backend. This call fetches nothing.
    pub(super) fn new(
        config: &Config,
        backend: &bff_upstream::Config,
        shared: &Arc<GatewayHandles>,
    ) -> Result<Self, String> {
        let (backend, document) = split_path(backend, &config.jwks_path)?;
        Ok(Self(Arc::new(JwksState {
            shared: shared.clone(),
            issuer: Upstream::new(ISSUER, &backend, shared)?,
            document,
            max_age: config.jwks_max_age,
            min_interval: config.jwks_min_refresh_interval,
            fetch_timeout: backend.attempt_timeout * 2,
            current: ArcSwapOption::empty(),
            fetch_state: Mutex::default(),
        })))
    }

    /// The first service discovery result for the backend.
    pub(super) fn initial_discovery(&self) -> InitialResolution {
        self.0.issuer.initial_discovery()
    }

    /// The reason why the backend is unhealthy now, if it is.
    pub(super) fn unhealthy_reason(&self) -> Option<Reason> {
        self.0.issuer.unhealthy_reason()
    }

    /// The generation of the current keys; `None` if they are missing or have expired. Old keys start a background
    /// fetch.
    pub(super) fn generation(&self) -> Option<u64> {
        let current = self.0.current.load();
        let current = current.as_ref()?;
        if Instant::now() - current.fetched_at >= self.0.max_age {
            let _ = self.fetch();
        }
        (!self.has_expired(current)).then_some(current.set.generation)
    }

    /// Whether the keys must not be used before the next fetch. They get so old only if no request arrived for that
    /// time, and the issuer may have revoked one. Keys do not expire if the last fetch failed.
    fn has_expired(&self, keys: &FetchedKeys) -> bool {
        let longest = self.0.max_age.saturating_add(self.0.min_interval);
        Instant::now() - keys.fetched_at >= longest && self.0.fetch_state.lock().error.is_none()
    }

    /// The key with the id `kid`. It fetches an unknown key, and waits no longer than `deadline`.
    pub(super) async fn find(
        &self,
        kid: &str,
        algorithm: Algorithm,
        deadline: Instant,
    ) -> Result<SelectedKey, Error> {
        let expired = (self.0.current.load().as_ref()).is_some_and(|keys| self.has_expired(keys));
        if let Some(key) = self.look_up(kid, algorithm).filter(|_| !expired) {
            return Ok(key);
        }
        if let Some(fetch) = self.fetch() {
            timeout_at(deadline, fetch).await.map_err(|_| {
                Error::new(codes::DEADLINE, codes::DEADLINE.meaning())
                    .with_cause("the issuer's keys did not arrive before the request's deadline")
            })?;
        }
        match self.look_up(kid, algorithm) {
            Some(key) => Ok(key),
            None if self.0.current.load().is_some() => {
                Err(AuthError::UnknownJwk(kid.into()).into())
            }
            None => Err(self.unavailable_error()),
        }
    }

    fn look_up(&self, kid: &str, algorithm: Algorithm) -> Option<SelectedKey> {
        let current = self.0.current.load();
        let set = &current.as_ref()?.set;
        Some(SelectedKey {
            key: set.find(kid, algorithm)?.clone(),
            generation: set.generation,
        })
    }

    /// The running fetch, or a new one. `None` if the last fetch started too recently.
    fn fetch(&self) -> Option<SharedFetch> {
        let mut state = self.0.fetch_state.lock();
        if let Some((task, fetch)) = &state.running
            && !task.is_finished()
        {
            return Some(fetch.clone());
        }
        let now = Instant::now();
        if (state.started_at).is_some_and(|started_at| now < started_at + self.fetch_interval()) {
            return None;
        }
        state.started_at = Some(now);
        let task = self.0.shared.tasks.spawn(self.clone().refresh());
        let abort = task.abort_handle();
        let fetch = task.map(|_| ()).boxed().shared();
        state.running = Some((abort, fetch.clone()));
        Some(fetch)
    }

    fn fetch_interval(&self) -> Duration {
        if self.0.current.load().is_some() {
            return self.0.min_interval;
        }
        self.0.min_interval.min(FIRST_KEYS_RETRY)
    }

    async fn refresh(self) {
        let shared = &self.0.shared;
        let cx = RequestContext::background(&shared.client, &shared.env, self.0.fetch_timeout);
        let call = Call::get(Public, "/{document}")
            .path_id(&self.0.document)
            .no_store();
        let error = match self.0.issuer.send::<Document, _>(&cx, call).await {
            Ok(fetched) => self.update(&fetched.value).err().map(str::to_owned),
            Err(failure) => {
                let error = failure.error();
                Some(error.cause().unwrap_or(error.detail()).to_owned())
            }
        };
        if let Some(cause) = &error {
            tracing::warn!(error = %cause, "fetching the issuer's keys failed");
        }
        self.0.fetch_state.lock().error = error;
    }

    fn update(&self, document: &Document) -> Result<(), &'static str> {
        let before = self.0.current.load_full();
        let set = KeySet::read(document, before.as_deref().map(|keys| &keys.set))
            .ok_or("the JWKS has no key that can verify a token")?;
        let fetched_at = Instant::now();
        self.0
            .current
            .store(Some(Arc::new(FetchedKeys { set, fetched_at })));
        Ok(())
    }

    /// The error while there are no keys: no token can be verified.
    fn unavailable_error(&self) -> Error {
        let state = self.0.fetch_state.lock();
        let next = state
            .started_at
            .map(|started_at| started_at + self.fetch_interval());
        let wait = next.map(|next| next.saturating_duration_since(Instant::now()));
        let cause = state.error.as_deref().unwrap_or("no fetch has ended yet");
        Error::new(
            codes::UNAVAILABLE,
            "Credentials cannot be verified at the moment.",
        )
        .with_retry_after(Some(wait.unwrap_or(FIRST_KEYS_RETRY)))
        .with_cause(format_args!("the issuer's keys are not available: {cause}"))
    }
}

/// The last segment of the JWKS path. A call accepts only identifiers as path parameters, so the other segments become
/// part of the backend's URL.
#[derive(Debug)]
struct DocumentName(String);

impl Id for DocumentName {
    fn as_path_segment(&self) -> &str {
        &self.0
    }
}

/// Splits the path of the JWKS into a backend URL and the last segment.
fn split_path(
    backend: &bff_upstream::Config,
    path: &str,
) -> Result<(bff_upstream::Config, DocumentName), String> {
    let error = || format!("jwks_path: {path:?} is not a path like \"/jwks\"");
    let mut segments = path.strip_prefix('/').ok_or_else(error)?.split('/');
    if !segments.all(|segment| validate_id(segment).is_ok()) {
        return Err(error());
    }
    let (folder, name) = path.rsplit_once('/').ok_or_else(error)?;
    let mut backend = backend.clone();
    let url = format!("{}{folder}", backend.url);
    backend.url = url.parse()?;
    Ok((backend, DocumentName(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_jwks_is_split() {
        let backend = bff_upstream::Config::at("http://a:1/realm".parse().unwrap());
        let (split, name) = split_path(&backend, "/.well-known/jwks.json").unwrap();
        assert_eq!(split.url.to_string(), "http://a:1/realm/.well-known");
        assert_eq!(name.0, "jwks.json");
        assert_eq!(split_path(&backend, "/jwks").unwrap().0.url, backend.url);
        for invalid in ["", "/", "jwks", "//jwks", "/../jwks", "/jwks?a", "/jwks/"] {
            assert!(split_path(&backend, invalid).is_err(), "{invalid}");
        }
    }
}
