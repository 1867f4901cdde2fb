//! The `_meta` envelope and the `Sections` header: one list of entries, written twice.

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::Name;
use crate::outbound::{Freshness, Provenance, Reason};
use crate::scope::CacheVisibility;

/// One section and where it is from.
#[derive(Clone, Debug)]
pub struct SectionMeta {
    /// The member's name.
    pub name: Name,
    /// Where it is from.
    pub from: Provenance,
}

impl SectionMeta {
    /// The backend, or a comma list of several.
    pub fn source(&self) -> &str {
        &self.from.source
    }

    fn fresh_for(&self) -> Duration {
        match self.from.state {
            Freshness::Fresh | Freshness::Cached => self.from.fresh_for,
            _ => Duration::ZERO,
        }
    }

    /// Whether the section lacks something that trying again could mend.
    fn is_incomplete(&self) -> bool {
        match self.from.state {
            Freshness::Fallback => true,
            Freshness::Missing => !self.from.reason.is_some_and(Reason::is_definitive),
            _ => false,
        }
    }
}

/// The truth about every section of one answer.
#[derive(Clone, Debug)]
pub struct Meta(Vec<SectionMeta>);

impl Meta {
    pub(crate) fn of(entries: Vec<SectionMeta>) -> Self {
        Self(entries)
    }

    /// Every section that was asked for and applies, in the screen's order.
    pub fn entries(&self) -> &[SectionMeta] {
        &self.0
    }

    /// Whether nothing is lacking that trying again could mend.
    pub fn is_complete(&self) -> bool {
        !self.0.iter().any(SectionMeta::is_incomplete)
    }

    /// The least freshness left among the sections; zero if one is stale or missing.
    pub fn fresh_for(&self) -> Duration {
        self.0
            .iter()
            .map(SectionMeta::fresh_for)
            .min()
            .unwrap_or_default()
    }

    /// The age of the copy that has the least freshness left; `None` when that is no copy.
    pub fn age(&self) -> Option<Duration> {
        self.0.iter().min_by_key(|e| e.fresh_for())?.from.age
    }

    /// Who may share the whole answer.
    pub fn sharing(&self) -> CacheVisibility {
        let all = self.0.iter().map(|e| e.from.sharing);
        all.fold(CacheVisibility::default(), CacheVisibility::and)
    }

    /// The `Sections` header: an RFC 9651 dictionary, names in lower snake case, ages in seconds.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut text = String::with_capacity(32 * self.0.len());
        for entry in &self.0 {
            if !text.is_empty() {
                text.push_str(", ");
            }
            snake(&entry.name, &mut text);
            text.push('=');
            text.push_str(entry.from.state.as_str());
            if let Some(age) = entry.from.age {
                let _ = write!(text, ";age={}", age.as_secs());
            }
        }
        HeaderValue::try_from(text).ok()
    }
}

/// `continueWatching` becomes `continue_watching`; what an RFC 9651 key cannot hold becomes `_`, and `*` where
/// it cannot begin so (a GraphQL alias can).
fn snake(name: &str, to: &mut String) {
    for (at, c) in name.char_indices() {
        match c {
            'A'..='Z' => {
                if at > 0 {
                    to.push('_');
                }
                to.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '*' => to.push(c),
            _ if at == 0 => to.push('*'),
            '0'..='9' | '_' | '-' | '.' => to.push(c),
            _ => to.push('_'),
        }
    }
}

impl Serialize for SectionMeta {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let from = &self.from;
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
        map.end()
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

struct Sections<'a>(&'a [SectionMeta]);

impl Serialize for Sections<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|e| (&e.name, e)))
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
    reason = "only its schema is used: an Entry is written by hand"
)]
struct SectionState {
    /// How good the section's data is.
    state: Freshness,
    /// The backend it is from, or a comma list of several.
    #[schema(example = "search")]
    source: Option<String>,
    /// How old a copy is, in milliseconds.
    #[schema(rename = "ageMs")]
    age_ms: Option<u64>,
    /// Why it is neither fresh nor cached.
    reason: Option<Reason>,
    /// When trying again makes sense, in milliseconds from now.
    #[schema(rename = "retryAfterMs")]
    retry_after_ms: Option<u64>,
}

impl PartialSchema for Meta {
    fn schema() -> RefOr<Schema> {
        let sections = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "One entry for each section that was asked for and applies.",
            ))
            .additional_properties(Some(utoipa::openapi::Ref::from_schema_name("SectionState")));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("The truth about every section of this answer, as of Date."))
            .property(
                "complete",
                ObjectBuilder::new().schema_type(Type::Boolean).description(Some(
                    "False when a section is a fallback, or missing for a reason that trying again could mend.",
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
        schemas.push(("SectionState".into(), SectionState::schema()));
        schemas.push(("State".into(), Freshness::schema()));
        schemas.push(("Reason".into(), Reason::schema()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(
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
            from: Provenance {
                state,
                age,
                reason,
                ..fresh
            },
        }
    }

    #[test]
    fn body_and_header_tell_the_same() {
        let meta = Meta::of(vec![
            entry("product", Freshness::Fresh, None, None),
            entry(
                "continueWatching",
                Freshness::Stale,
                Some(Reason::Timeout),
                Some(43_120),
            ),
            entry(
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
    fn a_key_begins_as_rfc_9651_wants_it() {
        let key = |name: &'static str| {
            let meta = Meta::of(vec![entry(name, Freshness::Fresh, None, None)]);
            meta.header().unwrap()
        };
        assert_eq!(key("_a.bC"), "*a.b_c=fresh");
        assert_eq!(key("Page.rows.1"), "page.rows.1=fresh");
    }

    #[test]
    fn an_answer_of_nothing_is_complete_and_a_mishap_is_not() {
        let with = |state, reason| Meta::of(vec![entry("a", state, reason, None)]).is_complete();
        assert!(with(Freshness::Missing, Some(Reason::NotFound)));
        assert!(with(Freshness::Missing, Some(Reason::Forbidden)));
        assert!(with(Freshness::Stale, Some(Reason::Timeout)));
        assert!(!with(Freshness::Missing, Some(Reason::Timeout)));
        assert!(!with(Freshness::Fallback, Some(Reason::NotFound)));
    }
}
