//! A page of sections: what is required, what is optional, what is personal, and the truth about each.
//!
//! A screen opens a [`ScreenBuilder`], fetches its sections side by side through it, and finishes into a [`Screen`]:
//! the screen's own value and, for every section asked for, where it is from. The engine never guesses: a
//! typed fetch brings its own [`Provenance`].

use std::borrow::Cow;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::context::RequestContext;
use crate::outbound::{Failure, Fetched, Freshness, Provenance, Reason};
use crate::scope::{CacheVisibility, Caller, Scope};

pub use fields::{Field, Fields};
pub use meta::{Meta, SectionMeta};
pub use screen::Screen;
pub use selection::FieldSelection;

pub mod fields;
pub mod meta;
pub mod screen;
pub mod selection;
mod write;

/// A section's name: the name of the screen's member, or `rows.<id>` for one of many.
pub type Name = Cow<'static, str>;

/// A screen being assembled.
pub struct ScreenBuilder<'a> {
    cx: &'a RequestContext,
    want: &'a FieldSelection,
    entries: Mutex<Vec<SectionMeta>>,
    /// Whether something on it is there for callers only, whoever asks now.
    personal: AtomicBool,
}

/// A section's place in the list of sections: they are told in the order they were opened.
#[derive(Clone, Copy)]
struct Slot(usize);

impl<'a> ScreenBuilder<'a> {
    /// Opens a page for what the client wants of it.
    pub fn new(cx: &'a RequestContext, want: &'a FieldSelection) -> Self {
        Self {
            cx,
            want,
            entries: Mutex::new(Vec::with_capacity(6)),
            personal: AtomicBool::new(false),
        }
    }

    /// A section the screen cannot be without: its failure fails the screen, at once.
    pub fn required<W, S: Scope, T>(
        &self,
        name: impl Into<Name>,
        fetch: impl Future<Output = Result<Fetched<W, S>, Failure>>,
        shape: impl FnOnce(&W) -> T,
    ) -> impl Future<Output = Result<T, Failure>> {
        // Opened at the call and not at the first poll: the order of sections is the order they are written in.
        let slot = self.open(name.into());
        async move {
            // No timer here: every call ends in time by itself, less the reserve that this needs.
            Ok(self.record(slot, &fetch.await?, shape))
        }
    }

    /// A section the screen can be without. Never fails, so `try_join!` stops for a required one only.
    /// Not asked for, it is not fetched.
    pub fn optional<W, S: Scope, T>(
        &self,
        name: impl Into<Name>,
        fetch: impl Future<Output = Result<Fetched<W, S>, Failure>>,
        shape: impl FnOnce(&W) -> T,
    ) -> impl Future<Output = Result<Option<T>, Failure>> {
        let name = name.into();
        let slot = self.want.contains(&name).then(|| self.open(name));
        async move {
            match slot {
                Some(slot) => Ok(self.try_fill(slot, fetch, shape).await),
                // Dropped without having been polled.
                None => Ok(None),
            }
        }
    }

    /// An optional section with a declared substitute for when it cannot be had.
    pub fn optional_or<W, S: Scope, T>(
        &self,
        name: impl Into<Name>,
        fetch: impl Future<Output = Result<Fetched<W, S>, Failure>>,
        shape: impl FnOnce(&W) -> T,
        fallback: impl FnOnce() -> T,
    ) -> impl Future<Output = Result<Option<T>, Failure>> {
        let name = name.into();
        let slot = self.want.contains(&name).then(|| self.open(name));
        async move {
            let Some(slot) = slot else { return Ok(None) };
            let value = self.try_fill(slot, fetch, shape).await.unwrap_or_else(|| {
                self.entries.lock()[slot.0].from.state = Freshness::Fallback;
                fallback()
            });
            Ok(Some(value))
        }
    }

    /// A section of the signed-in caller. When nobody is signed in it does not apply: it is null, and
    /// neither fetched nor listed.
    pub fn personal<W, T, F>(
        &self,
        name: impl Into<Name>,
        fetch: impl FnOnce(&'a Caller) -> F,
        shape: impl FnOnce(&W) -> T,
    ) -> impl Future<Output = Result<Option<T>, Failure>>
    where
        F: Future<Output = Result<Fetched<W, Caller>, Failure>>,
    {
        let name = name.into();
        if self.want.contains(&name) {
            self.personal.store(true, Ordering::Relaxed);
        }
        let run = (self.cx.caller()).map(|caller| self.optional(name, fetch(caller), shape));
        async move {
            match run {
                Some(run) => run.await,
                None => Ok(None),
            }
        }
    }

    /// Many sections of one kind, side by side: `name.<key>` each. Those that are missing are left out of
    /// the list and told in `_meta`.
    pub fn each<K, W, S: Scope, T, F>(
        &self,
        name: &'static str,
        keys: impl IntoIterator<Item = K>,
        fetch: impl Fn(&K) -> F,
        shape: impl Fn(&K, &W) -> T,
    ) -> impl Future<Output = Result<Vec<T>, Failure>>
    where
        K: std::fmt::Display,
        F: Future<Output = Result<Fetched<W, S>, Failure>>,
    {
        let shape = std::sync::Arc::new(shape);
        let wanted = self.want.contains(name);
        let rows: Vec<_> = keys
            .into_iter()
            .filter(|_| wanted)
            .map(|key| {
                let slot = self.open(Cow::Owned(format!("{name}.{key}")));
                let fetch = fetch(&key);
                let shape = shape.clone();
                self.try_fill(slot, fetch, move |w: &W| shape(&key, w))
            })
            .collect();
        async move {
            let filled = futures_util::future::join_all(rows).await;
            Ok(filled.into_iter().flatten().collect())
        }
    }

    /// The finished screen.
    pub fn build<T: Serialize>(self, value: T) -> Screen<T> {
        let meta = Meta::of(self.entries.into_inner());
        for entry in meta.entries() {
            let from = &entry.from;
            (self.cx.shared().metrics).section(from.source.clone(), from.state, from.reason);
        }
        // A section that is missing tells nothing of whose it would have been, so this does.
        let personal = self.personal.into_inner();
        let page = CacheVisibility {
            private: self.cx.identity_was_read() || (personal && self.cx.caller().is_some()),
            by_caller: self.cx.identity_was_read() || personal,
            by_language: false,
        };
        let sharing = meta.sharing().and(page);
        Screen::new(value, meta, self.want.clone(), sharing)
    }

    async fn try_fill<W, S: Scope, T>(
        &self,
        slot: Slot,
        fetch: impl Future<Output = Result<Fetched<W, S>, Failure>>,
        shape: impl FnOnce(&W) -> T,
    ) -> Option<T> {
        match fetch.await {
            Ok(fetched) => Some(self.record(slot, &fetched, shape)),
            Err(failure) => {
                self.entries.lock()[slot.0].from = missing(&failure);
                None
            }
        }
    }

    fn open(&self, name: Name) -> Slot {
        let mut entries = self.entries.lock();
        entries.push(SectionMeta {
            name,
            from: missing(&Failure::new(Reason::Deadline)),
        });
        Slot(entries.len() - 1)
    }

    fn record<W, S: Scope, T>(
        &self,
        slot: Slot,
        fetched: &Fetched<W, S>,
        shape: impl FnOnce(&W) -> T,
    ) -> T {
        self.entries.lock()[slot.0].from = fetched.provenance.clone();
        shape(&fetched.value)
    }
}

fn missing(failure: &Failure) -> Provenance {
    let fresh = Provenance::fresh(
        failure.source(),
        std::time::Duration::ZERO,
        crate::scope::CacheVisibility::default(),
    );
    Provenance {
        state: Freshness::Missing,
        reason: Some(failure.reason()),
        retry_after: failure.retry_after(),
        public_error: failure.public_error().cloned(),
        ..fresh
    }
}
