//! Collects the states of the sections that the resolvers of one request report.

use async_graphql::PathSegment;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::outbound::Provenance;
use crate::section::{Meta, ReportedSections, SectionMeta};

/// The sections of one response by dotted response path, in the order they were reported.
#[derive(Default)]
pub(super) struct SectionStates {
    by_path: Mutex<Vec<SectionMeta>>,
    /// The sections of every screen as built, for the metrics.
    built: Mutex<Vec<SectionMeta>>,
}

impl SectionStates {
    /// Adds a section. List indexes are dropped from its path. Sections with the same path get the worst state.
    pub(super) fn push(&self, path: &[PathSegment], provenance: &Provenance) {
        let keys: Vec<&str> = path.iter().filter_map(key).collect();
        let name = keys.join(".");
        let mut sections = self.by_path.lock();
        match sections.iter_mut().find(|s| s.name == name) {
            Some(section) => section.provenance = section.provenance.clone().merge(provenance),
            None => sections.push(SectionMeta {
                name: name.into(),
                provenance: provenance.clone(),
            }),
        }
    }

    /// Adds the sections of a screen.
    pub(super) fn add_built(&self, screen: &Meta) {
        self.built.lock().extend_from_slice(screen.sections());
    }

    /// The sections of every screen.
    pub(super) fn built(&self) -> ReportedSections {
        ReportedSections(std::mem::take(&mut *self.built.lock()))
    }

    /// All sections reported so far.
    pub(super) fn sections(&self) -> Sections {
        Sections(Meta::new(self.by_path.lock().clone()))
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
    pub(super) fn is_empty(&self) -> bool {
        self.0.sections().is_empty()
    }
}

impl Serialize for Sections {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(
            self.0
                .sections()
                .iter()
                .map(|section| (&section.name, section)),
        )
    }
}
