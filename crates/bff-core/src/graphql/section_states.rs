//! What the resolvers of one request told about their sections.

use async_graphql::PathSegment;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::outbound::Provenance;
use crate::section::{Meta, SectionMeta};

/// The sections of one answer under their dotted response paths, in the order they were told.
#[derive(Default)]
pub(super) struct SectionStates(Mutex<Vec<SectionMeta>>);

impl SectionStates {
    /// Tells a section. List indexes are dropped; of several under one path the worst state is told.
    pub(super) fn push(&self, path: &[PathSegment], from: &Provenance) {
        let keys: Vec<&str> = path.iter().filter_map(key).collect();
        let name = keys.join(".");
        let mut entries = self.0.lock();
        match entries.iter_mut().find(|e| e.name == name) {
            Some(entry) => entry.from = entry.from.clone().merge(from),
            None => entries.push(SectionMeta {
                name: name.into(),
                from: from.clone(),
            }),
        }
    }

    /// Everything told so far.
    pub(super) fn sections(&self) -> Sections {
        Sections(Meta::of(self.0.lock().clone()))
    }
}

fn key(segment: &PathSegment) -> Option<&str> {
    match segment {
        PathSegment::Field(key) => Some(key),
        PathSegment::Index(_) => None,
    }
}

/// `extensions.sections`, and the `Sections` header.
pub(super) struct Sections(pub(super) Meta);

impl Sections {
    /// Whether nothing was told.
    pub(super) fn is_empty(&self) -> bool {
        self.0.entries().is_empty()
    }
}

impl Serialize for Sections {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.entries().iter().map(|e| (&e.name, e)))
    }
}
