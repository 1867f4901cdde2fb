//! Functions that could break the rule that the type decides which callers share a response. Gateways cannot name this
//! crate, and `bff-core` does not re-export this module. So only the crates of the core can call them.

use std::sync::Arc;

use http::HeaderMap;

use crate::context::{Fetched, Provenance};
use crate::scope::{Access, Audience, Caller, Language, Region, Scope, Segment};

/// A value with the scope `S`. The caller of this function promises that the value was fetched for that scope.
pub fn fetched<T, S>(value: Arc<T>, from: Provenance) -> Fetched<T, S> {
    Fetched::new(value, from)
}

/// The part of every cache key that separates readers.
pub fn audience(scope: &impl Scope) -> Audience {
    scope.audience(Access::new())
}

/// Adds the headers that identify the caller to a backend.
pub fn identify(scope: &impl Scope, headers: &mut HeaderMap) {
    scope.identify(headers, Access::new());
}

/// The account of a caller.
pub fn account(caller: &Caller) -> &str {
    caller.account()
}

/// Account and profile of a caller. The profile is empty if the caller has none.
pub fn account_and_profile(caller: &Caller) -> (&str, &str) {
    caller.account_and_profile()
}

/// The API key that identified the caller, for the audit log.
pub fn key_id(caller: &Caller) -> Option<&str> {
    caller.key_id()
}

/// The account as one path segment of a backend's URL.
pub fn path_segment(caller: &Caller) -> &str {
    caller.path_segment()
}

/// A segment that depends on nothing yet.
pub fn segment(language: Language, region: Region, caller: Option<&Caller>) -> Segment {
    Segment::of(language, region, caller)
}
