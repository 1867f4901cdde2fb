//! Who may share an answer, decided by type.
//!
//! A fetch is [`Public`], of a [`Segment`], or of one [`Caller`]; it can read only what its scope holds.
//! Nothing of a caller can be read out as text, so the only place an identity can go is a call of that
//! caller. These programs do not compile, and each twin beside them, one token away, does:
//!
//! A public fetch cannot name the caller in its path:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller) {
//! Call::get(Public, "/people/{caller}/friends").own();
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller) {
//! Call::get(caller, "/people/{caller}/friends").own();
//! # }
//! ```
//!
//! A public fetch cannot depend on the region:
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
//! A caller is not text and cannot become a query:
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
//! What was fetched for one caller cannot pass for public:
//! ```compile_fail
//! # use bff_core::{Caller, Fetched, Public};
//! # fn f(own: Fetched<u8, Caller>) {
//! let shared: Fetched<u8, Public> = own;
//! # }
//! ```
//! ```
//! # use bff_core::{Caller, Fetched, Public};
//! # fn f(own: Fetched<u8, Caller>) {
//! let shared: Fetched<u8, Caller> = own;
//! # }
//! ```
//!
//! What is one caller's cannot be kept like what is everybody's, nor served stale:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").keep(Duration::from_secs(60));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").keep(Duration::from_secs(60));
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
//! What is everybody's cannot be kept as somebody's own:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").keep_own(Duration::from_secs(5));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").keep_own(Duration::from_secs(5));
//! # }
//! ```
//!
//! A tag that others purge by cannot name a caller:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").tag(caller);
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").tag(number);
//! # }
//! ```

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub use audience::Audience;
pub use caller::{Caller, Identity};
pub use segment::{Label, Language, Region, Segment};

mod audience;
pub mod caller;
pub mod segment;

/// Who asks, sent upstream on calls of a caller only.
pub const X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// The caller's roles, as a comma list.
pub const X_USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");
/// The client class, sent upstream on every call.
pub const X_CLIENT: HeaderName = HeaderName::from_static("x-client");

/// What an answer depends on, and so who may share it.
pub trait Scope: sealed::Sealed + Clone + Send + Sync + 'static {
    /// Whether the answer belongs to one caller.
    const PERSONAL: bool;

    /// Who may share the answer.
    fn sharing(&self) -> CacheVisibility;

    /// Who shares a copy of it, or a call for it: the part of every key that tells readers apart.
    fn audience(&self) -> Audience;

    /// Adds what the backend may know of the asker.
    fn identify(&self, headers: &mut HeaderMap);
}

/// A scope whose answers several may share, and so may be kept and served stale.
pub trait Shareable: Scope {}

impl Shareable for Public {}
impl Shareable for Segment {}

/// Who may keep a copy of an answer, as our own `Cache-Control` and `Vary` say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheVisibility {
    /// Only the caller's own cache.
    pub private: bool,
    /// It differs by `Accept-Language`.
    pub by_language: bool,
    /// It differs by who asks: also where nobody is signed in, for somebody might be next time.
    pub by_caller: bool,
}

impl CacheVisibility {
    /// What holds for an answer that is one caller's alone.
    pub const PRIVATE: Self = Self {
        private: true,
        by_language: false,
        by_caller: true,
    };

    /// What holds for an answer made of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            private: self.private || other.private,
            by_language: self.by_language || other.by_language,
            by_caller: self.by_caller || other.by_caller,
        }
    }
}

/// The same answer for everyone.
#[derive(Clone, Copy, Debug)]
pub struct Public;

impl Scope for Public {
    const PERSONAL: bool = false;

    fn sharing(&self) -> CacheVisibility {
        CacheVisibility::default()
    }

    fn audience(&self) -> Audience {
        Audience::everyone()
    }

    fn identify(&self, _: &mut HeaderMap) {}
}

impl Scope for Segment {
    const PERSONAL: bool = false;

    fn sharing(&self) -> CacheVisibility {
        Segment::sharing(self)
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

    fn sharing(&self) -> CacheVisibility {
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
