//! The issuer's keys: fetched when first needed, again when old or when a token names one we do not know.
//!
//! At most one fetch is under way, and two begin at least `keys_min_interval` apart. A fetch that fails leaves the
//! keys as they are: an issuer that is down must not sign everybody out.

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
use bff_context::error::{Error, codes};
use bff_context::scope::Public;
use bff_runtime::net;
use bff_upstream::discovery::InitialResolution;
use bff_upstream::outbound::GatewayHandles;
use bff_upstream::outbound::{self, Call, Id, Reason, Upstream, validate_id};
use key_set::{Document, Key, KeySet};

pub use key_set::Algorithm;

pub(super) mod key_set;

/// The issuer's name in metrics.
const ISSUER: &str = "auth";
/// How soon a failed fetch is repeated while no key is known at all: nobody can be let in until one is.
const FIRST_KEYS_RETRY: Duration = Duration::from_secs(1);

/// The issuer's keys. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Jwks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<GatewayHandles>,
    issuer: Upstream,
    document: FileName,
    max_age: Duration,
    min_interval: Duration,
    /// How long one fetch may take: two attempts.
    bound: Duration,
    known: ArcSwapOption<Known>,
    fetching: Mutex<Fetching>,
}

#[derive(Debug)]
struct Known {
    set: KeySet,
    since: Instant,
}

#[derive(Debug, Default)]
struct Fetching {
    began: Option<Instant>,
    flight: Option<(AbortHandle, Flight)>,
    /// Why the last fetch failed, for the log.
    failed: Option<String>,
}

/// A fetch under way. Waiters share it and none of them can stop it: its keys are everybody's.
type Flight = SharedFuture<BoxFuture<'static, ()>>;

/// A key, and the generation of keys it is of.
pub(super) struct Found {
    pub(super) key: Arc<Key>,
    pub(super) generation: u64,
}

impl Jwks {
    /// The keys that `config` points to; nothing is fetched yet.
    pub(super) fn new(
        config: &Config,
        backend: &outbound::Config,
        shared: &Arc<GatewayHandles>,
    ) -> Result<Self, String> {
        let (backend, document) = locate(backend, &config.jwks_path)?;
        Ok(Self(Arc::new(Inner {
            shared: shared.clone(),
            issuer: Upstream::new(ISSUER, &backend, shared)?,
            document,
            max_age: config.jwks_max_age,
            min_interval: config.jwks_min_refresh_interval,
            bound: backend.attempt_timeout * 2,
            known: ArcSwapOption::empty(),
            fetching: Mutex::default(),
        })))
    }

    /// The first answer about where they are.
    pub(super) fn first(&self) -> InitialResolution {
        self.0.issuer.initial_discovery()
    }

    /// What is wrong at the moment with where they are.
    pub(super) fn trouble(&self) -> Option<Reason> {
        self.0.issuer.unhealthy_reason()
    }

    /// The generation of the keys known, if any are that count. When they are old, new ones are fetched meanwhile.
    pub(super) fn generation(&self) -> Option<u64> {
        let known = self.0.known.load();
        let known = known.as_ref()?;
        if net::now() - known.since >= self.0.max_age {
            let _ = self.fetch();
        }
        (!self.are_past(known)).then_some(known.set.generation)
    }

    /// Whether they are older than they grow while somebody asks: a key may have been withdrawn long ago, and whoever
    /// asks first waits for the new ones. Not if the issuer was asked and failed.
    fn are_past(&self, known: &Known) -> bool {
        let longest = self.0.max_age.saturating_add(self.0.min_interval);
        net::now() - known.since >= longest && self.0.fetching.lock().failed.is_none()
    }

    /// The key called `kid`, fetched if it is not known, waiting no longer than `deadline`.
    pub(super) async fn find(
        &self,
        kid: &str,
        algorithm: Algorithm,
        deadline: Instant,
    ) -> Result<Found, Error> {
        let past = (self.0.known.load().as_ref()).is_some_and(|known| self.are_past(known));
        if let Some(found) = self.look_up(kid, algorithm).filter(|_| !past) {
            return Ok(found);
        }
        if let Some(flight) = self.fetch() {
            timeout_at(deadline, flight).await.map_err(|_| {
                Error::new(codes::DEADLINE, codes::DEADLINE.meaning())
                    .with_cause("the issuer's keys did not come within the request's deadline")
            })?;
        }
        match self.look_up(kid, algorithm) {
            Some(found) => Ok(found),
            None if self.0.known.load().is_some() => Err(AuthError::UnknownKey(kid.into()).into()),
            None => Err(self.none_known()),
        }
    }

    fn look_up(&self, kid: &str, algorithm: Algorithm) -> Option<Found> {
        let known = self.0.known.load();
        let set = &known.as_ref()?.set;
        Some(Found {
            key: set.find(kid, algorithm)?.clone(),
            generation: set.generation,
        })
    }

    /// The fetch under way, or a new one, unless the last began too short a time ago.
    fn fetch(&self) -> Option<Flight> {
        let mut fetching = self.0.fetching.lock();
        if let Some((task, flight)) = &fetching.flight
            && !task.is_finished()
        {
            return Some(flight.clone());
        }
        let now = Instant::now();
        if fetching.began.is_some_and(|b| now < b + self.pause()) {
            return None;
        }
        fetching.began = Some(now);
        let task = self.0.shared.tasks.spawn(self.clone().refresh());
        let abort = task.abort_handle();
        let flight = task.map(|_| ()).boxed().shared();
        fetching.flight = Some((abort, flight.clone()));
        Some(flight)
    }

    fn pause(&self) -> Duration {
        if self.0.known.load().is_some() {
            return self.0.min_interval;
        }
        self.0.min_interval.min(FIRST_KEYS_RETRY)
    }

    async fn refresh(self) {
        let cx = {
            let shared = &self.0.shared;
            RequestContext::background(&shared.client, &shared.env, self.0.bound)
        };
        let call = Call::get(Public, "/{document}")
            .path_id(&self.0.document)
            .no_store();
        let failed = match self.0.issuer.send::<Document, _>(&cx, call).await {
            Ok(fetched) => self.learn(&fetched.value).err().map(str::to_owned),
            Err(failure) => {
                let error = failure.error();
                Some(error.cause().unwrap_or(error.detail()).to_owned())
            }
        };
        if let Some(why) = &failed {
            tracing::warn!(error = %why, "the issuer's keys could not be fetched");
        }
        self.0.fetching.lock().failed = failed;
    }

    fn learn(&self, document: &Document) -> Result<(), &'static str> {
        let before = self.0.known.load_full();
        let set = KeySet::read(document, before.as_deref().map(|known| &known.set))
            .ok_or("the key document holds no key that may verify a token")?;
        let since = Instant::now();
        self.0.known.store(Some(Arc::new(Known { set, since })));
        Ok(())
    }

    /// Nobody can be verified: the request is refused, whatever it asked for.
    fn none_known(&self) -> Error {
        let fetching = self.0.fetching.lock();
        let next = fetching.began.map(|began| began + self.pause());
        let wait = next.map(|next| next.saturating_duration_since(Instant::now()));
        let cause = fetching.failed.as_deref().unwrap_or("none was fetched yet");
        Error::new(
            codes::UNAVAILABLE,
            "Credentials cannot be checked at the moment.",
        )
        .with_retry_after(Some(wait.unwrap_or(FIRST_KEYS_RETRY)))
        .with_cause(format_args!("no key of the issuer is known: {cause}"))
    }
}

/// The last segment of the document's path. A call fills its route with identifiers only, so the rest of the
/// configured path becomes part of the backend's address.
#[derive(Debug)]
struct FileName(String);

impl Id for FileName {
    fn as_path_segment(&self) -> &str {
        &self.0
    }
}

fn locate(backend: &outbound::Config, path: &str) -> Result<(outbound::Config, FileName), String> {
    let refuse = || format!("jwks_path: {path:?} is not a path like \"/jwks\"");
    let mut segments = path.strip_prefix('/').ok_or_else(refuse)?.split('/');
    if !segments.all(|segment| validate_id(segment).is_ok()) {
        return Err(refuse());
    }
    let (folder, name) = path.rsplit_once('/').ok_or_else(refuse)?;
    let mut backend = backend.clone();
    let url = format!("{}{folder}", backend.url);
    backend.url = url.parse()?;
    Ok((backend, FileName(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_document_is_parsed() {
        let backend = outbound::Config::at("http://a:1/realm".parse().unwrap());
        let (found, name) = locate(&backend, "/.well-known/jwks.json").unwrap();
        assert_eq!(found.url.to_string(), "http://a:1/realm/.well-known");
        assert_eq!(name.0, "jwks.json");
        assert_eq!(locate(&backend, "/jwks").unwrap().0.url, backend.url);
        for bad in ["", "/", "jwks", "//jwks", "/../jwks", "/jwks?a", "/jwks/"] {
            assert!(locate(&backend, bad).is_err(), "{bad}");
        }
    }
}
