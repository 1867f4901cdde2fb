//! Screens built from sections. A section is required, optional or personal, and reports its provenance.
//!
//! A screen creates a [`ScreenBuilder`], fetches its sections concurrently through it, and builds a [`Screen`]. The
//! screen holds its value and the [`Provenance`] of every selected section. Each fetch returns its own provenance.

use std::borrow::Cow;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::context::RequestContext;
use crate::outbound::{Failure, Fetched, Freshness, Provenance, Reason};
use crate::scope::{CacheVisibility, Caller, Scope};

pub use fields::{Field, Fields};
pub(crate) use meta::ReportedSections;
pub use meta::{Meta, Name, SectionMeta};
pub use screen::Screen;
pub use selection::FieldSelection;

pub mod fields;
pub mod meta;
pub mod screen;
pub mod selection;
mod sparse;
mod write;

/// Fetches the sections of one screen and records their provenance.
pub struct ScreenBuilder<'a> {
    cx: &'a RequestContext,
    selection: &'a FieldSelection,
    sections: Mutex<Vec<SectionMeta>>,
    /// Whether a personal section is selected, signed in or not.
    personal: AtomicBool,
}

/// The index of a section. `_meta` lists sections in the order in which they were opened.
#[derive(Clone, Copy)]
struct Slot(usize);

impl<'a> ScreenBuilder<'a> {
    /// A screen for this request, limited to the client's field selection.
    pub fn new(cx: &'a RequestContext, selection: &'a FieldSelection) -> Self {
        Self {
            cx,
            selection,
            sections: Mutex::new(Vec::with_capacity(6)),
            personal: AtomicBool::new(false),
        }
    }

    /// A required section: its failure fails the screen immediately.
    pub fn required<W, S: Scope, T>(
        &self,
        name: impl Into<Name>,
        fetch: impl Future<Output = Result<Fetched<W, S>, Failure>>,
        shape: impl FnOnce(&W) -> T,
    ) -> impl Future<Output = Result<T, Failure>> {
        // Opened here, not at the first poll, so that the sections have the order of the calls.
        let slot = self.open(name.into());
        async move {
            // No timer: every upstream call has a deadline before the request's deadline.
            Ok(self.record(slot, &fetch.await?, shape))
        }
    }

    /// An optional section. It returns no error, so `try_join!` stops only for required sections.
    /// It is not fetched if the client did not select it.
    pub fn optional<W, S: Scope, T>(
        &self,
        name: impl Into<Name>,
        fetch: impl Future<Output = Result<Fetched<W, S>, Failure>>,
        shape: impl FnOnce(&W) -> T,
    ) -> impl Future<Output = Result<Option<T>, Failure>> {
        let name = name.into();
        let slot = self.selection.contains(&name).then(|| self.open(name));
        async move {
            match slot {
                Some(slot) => Ok(self.try_fill(slot, fetch, shape).await),
                // `fetch` is dropped without being polled.
                None => Ok(None),
            }
        }
    }

    /// An optional section with a fallback value for a failed fetch.
    pub fn optional_or<W, S: Scope, T>(
        &self,
        name: impl Into<Name>,
        fetch: impl Future<Output = Result<Fetched<W, S>, Failure>>,
        shape: impl FnOnce(&W) -> T,
        fallback: impl FnOnce() -> T,
    ) -> impl Future<Output = Result<Option<T>, Failure>> {
        let name = name.into();
        let slot = self.selection.contains(&name).then(|| self.open(name));
        async move {
            let Some(slot) = slot else { return Ok(None) };
            let value = self.try_fill(slot, fetch, shape).await.unwrap_or_else(|| {
                self.sections.lock()[slot.0].provenance.state = Freshness::Fallback;
                fallback()
            });
            Ok(Some(value))
        }
    }

    /// A section for the signed-in caller. For an anonymous request it is null, and it is neither fetched nor listed.
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
        if self.selection.contains(&name) {
            self.personal.store(true, Ordering::Relaxed);
        }
        let section = (self.cx.caller()).map(|caller| self.optional(name, fetch(caller), shape));
        async move {
            match section {
                Some(section) => section.await,
                None => Ok(None),
            }
        }
    }

    /// One section per key, fetched concurrently and named `name.<key>`. The list leaves out missing sections; `_meta`
    /// reports them.
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
        let is_selected = self.selection.contains(name);
        let rows: Vec<_> = keys
            .into_iter()
            .filter(|_| is_selected)
            .map(|key| {
                let slot = self.open(Cow::Owned(format!("{name}.{key}")));
                let fetch = fetch(&key);
                let shape = shape.clone();
                self.try_fill(slot, fetch, move |w: &W| shape(&key, w))
            })
            .collect();
        async move {
            let values = futures_util::future::join_all(rows).await;
            Ok(values.into_iter().flatten().collect())
        }
    }

    /// Builds the screen from its value and the recorded sections.
    pub fn build<T: Serialize>(self, value: T) -> Screen<T> {
        let meta = Meta::new(self.sections.into_inner());
        // A missing section has no visibility of its own, so the selection decides.
        let personal = self.personal.into_inner();
        let screen = CacheVisibility {
            private: self.cx.identity_was_read() || (personal && self.cx.caller().is_some()),
            by_caller: self.cx.identity_was_read() || personal,
            by_language: false,
        };
        let visibility = meta.visibility().and(screen);
        Screen::new(value, meta, self.selection.clone(), visibility)
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
                self.sections.lock()[slot.0].provenance = missing(&failure);
                None
            }
        }
    }

    fn open(&self, name: Name) -> Slot {
        let mut sections = self.sections.lock();
        sections.push(SectionMeta {
            name,
            provenance: missing(&Failure::new(Reason::Deadline)),
        });
        Slot(sections.len() - 1)
    }

    fn record<W, S: Scope, T>(
        &self,
        slot: Slot,
        fetched: &Fetched<W, S>,
        shape: impl FnOnce(&W) -> T,
    ) -> T {
        self.sections.lock()[slot.0].provenance = fetched.provenance.clone();
        shape(&fetched.value)
    }
}

/// The provenance of a section whose fetch failed.
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
