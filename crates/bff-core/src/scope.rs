//! The scope of a call: who may share its response. The type decides.
//!
//! A call is [`Public`], of a [`Segment`], or of one [`Caller`]. It can use only the data that its scope holds. A
//! caller cannot be read as text, so an identity can only go into a call of that caller. Each program below that must
//! not compile has a twin that differs in one token and compiles.
//!
//! A public call cannot have the caller in its path:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller) {
//! Call::get(Public, "/people/{caller}/friends").caller_id();
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller) {
//! Call::get(caller, "/people/{caller}/friends").caller_id();
//! # }
//! ```
//!
//! A public call cannot depend on the region:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Public, Segment};
//! # fn f(segment: Segment) {
//! Call::get(Public, "/offers").region("region");
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Public, Segment};
//! # fn f(segment: Segment) {
//! Call::get(segment, "/offers").region("region");
//! # }
//! ```
//!
//! A caller is not text and cannot become a query parameter:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").query("for", caller);
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").query("for", number);
//! # }
//! ```
//!
//! A response of one caller cannot become public:
//! ```compile_fail
//! # use bff_core::{Caller, Fetched, Public};
//! # fn f(private: Fetched<u8, Caller>) {
//! let shared: Fetched<u8, Public> = private;
//! # }
//! ```
//! ```
//! # use bff_core::{Caller, Fetched, Public};
//! # fn f(private: Fetched<u8, Caller>) {
//! let shared: Fetched<u8, Caller> = private;
//! # }
//! ```
//!
//! A response of one caller cannot be cached like a shared one, nor served stale:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").ttl(Duration::from_secs(60));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").ttl(Duration::from_secs(60));
//! # }
//! ```
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").stale_if_error(Duration::from_secs(60));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").stale_if_error(Duration::from_secs(60));
//! # }
//! ```
//!
//! A public response cannot be cached as one caller's:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").private_ttl(Duration::from_secs(5));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").private_ttl(Duration::from_secs(5));
//! # }
//! ```
//!
//! A cache tag cannot name a caller:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").cache_tag(caller);
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").cache_tag(number);
//! # }
//! ```

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub use audience::Audience;
pub use cache_visibility::CacheVisibility;
pub use caller::{Caller, Identity};
pub use label::{Label, Language, Region};
pub use segment::Segment;

// Each of these files imports only those before it: cache_visibility, label, caller, segment, audience.
mod audience;
mod cache_visibility;
pub mod caller;
mod label;
pub mod segment;

/// The caller's account, sent upstream on calls of a caller only.
pub const X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// The caller's roles, separated by commas.
pub const X_USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");
/// The client class, sent upstream on every call.
pub const X_CLIENT: HeaderName = HeaderName::from_static("x-client");

/// The data that a response depends on, and so who may share it.
pub trait Scope: sealed::Sealed + Clone + Send + Sync + 'static {
    /// Whether the response belongs to one caller.
    const PERSONAL: bool;

    /// Who may store the response outside the gateway.
    fn visibility(&self) -> CacheVisibility;

    /// Who shares a cache entry or a call: the audience part of every cache key.
    fn audience(&self) -> Audience;

    /// Adds the identity headers that the backend may know.
    fn identify(&self, headers: &mut HeaderMap);
}

/// A scope whose responses several callers may share. They may be cached with a TTL and served stale.
pub trait Shareable: Scope {}

impl Shareable for Public {}
impl Shareable for Segment {}

/// The scope of responses that are the same for everyone.
#[derive(Clone, Copy, Debug)]
pub struct Public;

impl Scope for Public {
    const PERSONAL: bool = false;

    fn visibility(&self) -> CacheVisibility {
        CacheVisibility::default()
    }

    fn audience(&self) -> Audience {
        Audience::everyone()
    }

    fn identify(&self, _: &mut HeaderMap) {}
}

impl Scope for Segment {
    const PERSONAL: bool = false;

    fn visibility(&self) -> CacheVisibility {
        Segment::visibility(self)
    }

    fn audience(&self) -> Audience {
        Audience::of_segment(self)
    }

    fn identify(&self, headers: &mut HeaderMap) {
        let language = self.language();
        if let Some(Ok(value)) = language.map(|l| HeaderValue::from_str(l.as_str())) {
            headers.insert(header::ACCEPT_LANGUAGE, value);
        }
    }
}

impl Scope for Caller {
    const PERSONAL: bool = true;

    fn visibility(&self) -> CacheVisibility {
        CacheVisibility::PRIVATE
    }

    fn audience(&self) -> Audience {
        Audience::of_caller(self)
    }

    fn identify(&self, headers: &mut HeaderMap) {
        headers.insert(X_USER_ID, self.id_header());
        headers.insert(X_USER_ROLE, self.role_header());
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Public {}
    impl Sealed for super::Segment {}
    impl Sealed for super::Caller {}
}
