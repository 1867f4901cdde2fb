//! The `_meta` member and the `Sections` header: two formats of one list of sections.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::outbound::{Freshness, Provenance, Reason};
use crate::scope::CacheVisibility;

/// A section's name: the name of the screen's member, or `rows.<id>` for one row of a list.
pub type Name = Cow<'static, str>;

/// A section's name and provenance.
#[derive(Clone, Debug)]
pub struct SectionMeta {
    /// The member's name.
    pub name: Name,
    /// The section's source, state, age and reason.
    pub provenance: Provenance,
}

impl SectionMeta {
    /// The backend, or a comma-separated list of several.
    pub fn source(&self) -> &str {
        &self.provenance.source
    }

    fn fresh_for(&self) -> Duration {
        match self.provenance.state {
            Freshness::Fresh | Freshness::Cached => self.provenance.fresh_for,
            _ => Duration::ZERO,
        }
    }

    /// Whether data is missing that is not definitively absent.
    fn is_incomplete(&self) -> bool {
        match self.provenance.state {
            _ if self.provenance.omitted > 0 => true,
            Freshness::Fallback => true,
            Freshness::Missing => !self.provenance.reason.is_some_and(Reason::is_definitive),
            _ => false,
        }
    }
}

/// The sections of one response and their provenance.
#[derive(Clone, Debug)]
pub struct Meta(Vec<SectionMeta>);

/// Response extension: the sections of the screens in this response. The edge counts them.
#[derive(Clone, Debug)]
pub(crate) struct ReportedSections(pub(crate) Vec<SectionMeta>);

impl Meta {
    pub(crate) fn new(sections: Vec<SectionMeta>) -> Self {
        Self(sections)
    }

    /// The sections, for the edge, which counts them.
    pub(crate) fn into_reported(self) -> ReportedSections {
        ReportedSections(self.0)
    }

    /// Every section that is selected and applies to the caller, in the screen's order.
    pub fn sections(&self) -> &[SectionMeta] {
        &self.0
    }

    /// False if a section is a fallback, has a list that omits elements, or is missing for a reason that a retry could
    /// fix.
    pub fn is_complete(&self) -> bool {
        !self.0.iter().any(SectionMeta::is_incomplete)
    }

    /// The shortest remaining freshness of all sections; zero if one is stale or missing.
    pub fn fresh_for(&self) -> Duration {
        self.0
            .iter()
            .map(SectionMeta::fresh_for)
            .min()
            .unwrap_or_default()
    }

    /// The age of the section with the shortest remaining freshness; `None` if it does not come from a cache.
    pub fn age(&self) -> Option<Duration> {
        self.0.iter().min_by_key(|s| s.fresh_for())?.provenance.age
    }

    /// The combined cache visibility of all sections.
    pub fn visibility(&self) -> CacheVisibility {
        let sections = self.0.iter().map(|s| s.provenance.visibility);
        sections.fold(CacheVisibility::default(), CacheVisibility::and)
    }

    /// The `Sections` header: an RFC 9651 dictionary, names in lower snake case, ages in seconds.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut text = String::with_capacity(32 * self.0.len());
        for section in &self.0 {
            if !text.is_empty() {
                text.push_str(", ");
            }
            push_dictionary_key(&section.name, &mut text);
            text.push('=');
            text.push_str(section.provenance.state.as_str());
            if let Some(age) = section.provenance.age {
                let _ = write!(text, ";age={}", age.as_secs());
            }
            if section.provenance.omitted > 0 {
                let _ = write!(text, ";omitted={}", section.provenance.omitted);
            }
        }
        HeaderValue::try_from(text).ok()
    }
}

/// Appends `name` as an RFC 9651 key: `continueWatching` becomes `continue_watching`. Characters that a key cannot
/// contain become `_`, or `*` at the start. A GraphQL alias can start with such a character.
fn push_dictionary_key(name: &str, to: &mut String) {
    for (index, c) in name.char_indices() {
        match c {
            'A'..='Z' => {
                if index > 0 {
                    to.push('_');
                }
                to.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '*' => to.push(c),
            _ if index == 0 => to.push('*'),
            '0'..='9' | '_' | '-' | '.' => to.push(c),
            _ => to.push('_'),
        }
    }
}

impl Serialize for SectionMeta {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let from = &self.provenance;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("state", &from.state)?;
        if !from.source.is_empty() {
            map.serialize_entry("source", &from.source)?;
        }
        if let Some(age) = from.age {
            map.serialize_entry("ageMs", &millis(age))?;
        }
        if let Some(reason) = from.reason {
            map.serialize_entry("reason", &reason)?;
        }
        if let Some(after) = from.retry_after {
            map.serialize_entry("retryAfterMs", &millis(after))?;
        }
        if from.omitted > 0 {
            map.serialize_entry("omitted", &from.omitted)?;
        }
        map.end()
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

struct Sections<'a>(&'a [SectionMeta]);

impl Serialize for Sections<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|section| (&section.name, section)))
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(2))?;
        map.serialize_entry("complete", &self.is_complete())?;
        map.serialize_entry("sections", &Sections(&self.0))?;
        map.end()
    }
}

/// The schema of one section's provenance, as `_meta.sections` carries it.
#[derive(ToSchema)]
#[schema(as = SectionState)]
#[expect(
    dead_code,
    reason = "only the schema is used: SectionMeta implements Serialize itself"
)]
struct SectionState {
    /// The freshness of the section's data.
    state: Freshness,
    /// The backend of the section, or a comma-separated list of several.
    #[schema(example = "search")]
    source: Option<String>,
    /// The age of the cached response, in milliseconds.
    #[schema(rename = "ageMs")]
    age_ms: Option<u64>,
    /// The reason why the section is neither fresh nor cached.
    reason: Option<Reason>,
    /// The time to wait before a retry, in milliseconds.
    #[schema(rename = "retryAfterMs")]
    retry_after_ms: Option<u64>,
    /// The number of elements that the section's lists leave out, because the backend's data of them is invalid. Absent
    /// if there are none.
    #[schema(minimum = 1)]
    omitted: Option<u32>,
}

impl PartialSchema for Meta {
    fn schema() -> RefOr<Schema> {
        let sections = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "One entry for each section that was selected and applies to the caller.",
            ))
            .additional_properties(Some(utoipa::openapi::Ref::from_schema_name(
                SectionState::name(),
            )));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("The state and source of every section of this response, as of Date."))
            .property(
                "complete",
                ObjectBuilder::new().schema_type(Type::Boolean).description(Some(
                    "False if a section is a fallback, has a list that omits elements, or is missing for a reason that \
                     a retry could fix.",
                )),
            )
            .required("complete")
            .property("sections", sections)
            .required("sections")
            .into()
    }
}

impl ToSchema for Meta {
    fn name() -> std::borrow::Cow<'static, str> {
        "Meta".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((SectionState::name().into(), SectionState::schema()));
        SectionState::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(
        name: &'static str,
        state: Freshness,
        reason: Option<Reason>,
        age: Option<u64>,
    ) -> SectionMeta {
        let fresh = Provenance::fresh(
            "review",
            Duration::from_secs(60),
            CacheVisibility::default(),
        );
        let age = age.map(Duration::from_millis);
        SectionMeta {
            name: name.into(),
            provenance: Provenance {
                state,
                age,
                reason,
                ..fresh
            },
        }
    }

    #[test]
    fn body_and_header_report_the_same_states() {
        let meta = Meta::new(vec![
            section("product", Freshness::Fresh, None, None),
            section(
                "continueWatching",
                Freshness::Stale,
                Some(Reason::Timeout),
                Some(43_120),
            ),
            section(
                "availability",
                Freshness::Missing,
                Some(Reason::CircuitOpen),
                None,
            ),
        ]);
        assert_eq!(
            meta.header().unwrap(),
            "product=fresh, continue_watching=stale;age=43, availability=missing"
        );
        assert_eq!(
            serde_json::to_value(&meta).unwrap(),
            serde_json::json!({"complete": false, "sections": {
                "product": {"state": "fresh", "source": "review"},
                "continueWatching": {"state": "stale", "source": "review", "ageMs": 43120, "reason": "timeout"},
                "availability": {"state": "missing", "source": "review", "reason": "circuit_open"},
            }})
        );
        assert_eq!(meta.fresh_for(), Duration::ZERO);
    }

    #[test]
    fn a_list_that_omits_elements_is_incomplete() {
        let mut search = section("search", Freshness::Cached, None, Some(2_500));
        search.provenance.omitted = 2;
        let meta = Meta::new(vec![search]);
        assert_eq!(meta.header().unwrap(), "search=cached;age=2;omitted=2");
        assert_eq!(
            serde_json::to_value(&meta).unwrap(),
            serde_json::json!({"complete": false, "sections": {
                "search": {"state": "cached", "source": "review", "ageMs": 2500, "omitted": 2},
            }})
        );
    }

    #[test]
    fn a_key_starts_with_a_character_that_rfc_9651_allows() {
        let key = |name: &'static str| {
            let meta = Meta::new(vec![section(name, Freshness::Fresh, None, None)]);
            meta.header().unwrap()
        };
        assert_eq!(key("_a.bC"), "*a.b_c=fresh");
        assert_eq!(key("Page.rows.1"), "page.rows.1=fresh");
    }

    #[test]
    fn a_definitive_reason_is_complete_and_a_transient_one_is_not() {
        let is_complete =
            |state, reason| Meta::new(vec![section("a", state, reason, None)]).is_complete();
        assert!(is_complete(Freshness::Missing, Some(Reason::NotFound)));
        assert!(is_complete(Freshness::Missing, Some(Reason::Forbidden)));
        assert!(is_complete(Freshness::Stale, Some(Reason::Timeout)));
        assert!(!is_complete(Freshness::Missing, Some(Reason::Timeout)));
        assert!(!is_complete(Freshness::Fallback, Some(Reason::NotFound)));
    }
}
