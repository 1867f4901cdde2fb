//! The scopes of an answer: [`Public`], [`Segment`] or [`Caller`]. The scope decides which callers may share it.

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub use audience::Audience;
pub use cache_visibility::CacheVisibility;
pub use caller::{Caller, Identity};
pub use label::{Label, Language, Region};
pub use segment::Segment;

// Each of these files imports only those before it: `cache_visibility`, `label`, `caller`, `segment`, `audience`.
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

/// Permits a call of the methods of [`Scope`] that read the caller. Only [`trusted`](crate::trusted) makes one.
#[derive(Clone, Copy, Debug)]
pub struct Access(());

impl Access {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

/// The data that a response depends on. It decides which callers may share the response.
pub trait Scope: sealed::Sealed + Clone + Send + Sync + 'static {
    /// Whether the response belongs to one caller.
    const PERSONAL: bool;

    /// The caches outside the gateway that may store the response.
    fn visibility(&self) -> CacheVisibility;

    /// The callers that share a cache entry or a call: the audience part of every cache key.
    fn audience(&self, access: Access) -> Audience;

    /// Adds the identity headers that the backend may know.
    fn identify(&self, headers: &mut HeaderMap, access: Access);
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

    fn audience(&self, _: Access) -> Audience {
        Audience::everyone()
    }

    fn identify(&self, _: &mut HeaderMap, _: Access) {}
}

impl Scope for Segment {
    const PERSONAL: bool = false;

    fn visibility(&self) -> CacheVisibility {
        Segment::visibility(self)
    }

    fn audience(&self, _: Access) -> Audience {
        Audience::of_segment(self)
    }

    fn identify(&self, headers: &mut HeaderMap, _: Access) {
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

    fn audience(&self, _: Access) -> Audience {
        Audience::of_caller(self)
    }

    fn identify(&self, headers: &mut HeaderMap, _: Access) {
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
