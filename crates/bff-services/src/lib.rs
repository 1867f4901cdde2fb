//! One typed client for each backend: its wire types and its calls.
//!
//! Every file beside this one is one backend. A client knows nothing of screens: it takes parsed arguments, and
//! returns the backend's own shape with its provenance. It decodes only members that a screen can use. A member that
//! every screen needs is required. An unknown enum value decodes as the enum's last variant.
//!
//! If the caller can fix a rejected write (402, 409 or 422), the client maps it to a code of that backend, see [`CODES`].
//!
//! Read `inventory.rs` first: it is a short client.

pub mod inventory;
pub mod order;
pub mod payment;
pub mod playback;
pub mod product;
pub mod review;
pub mod user;

/// Writes whose steps are calls to several backends.
pub mod actions {
    pub mod checkout;
}

/// Formats, errors and cache policies that several backends share.
mod wire {
    pub(crate) mod cache_policy;
    pub(crate) mod error_mapping;
    pub(crate) mod list;
    pub(crate) mod money;
    pub(crate) mod null;
    pub(crate) mod open_enum;
    pub(crate) mod timestamp;
}

pub use wire::list::{Batch, CursorPage, Items, NumberedPage};
pub use wire::money::Money;
pub use wire::timestamp::Timestamp;

/// Every error code that a backend defines.
pub const CODES: &[bff_core::Code] = &[
    order::ORDER_CANCELLED,
    order::ORDER_REFUSED,
    order::ORDER_SHIPPED,
    payment::PAYMENT_DECLINED,
    payment::PAYMENT_REFUSED,
    payment::PAYMENT_SETTLED,
    review::REVIEW_REFUSED,
    user::TOO_MANY_ADDRESSES,
];
