//! The vocabulary: one file per backend, with its wire types and its calls.
//!
//! A client knows a backend's words and nothing of screens: what a call needs comes in parsed, and what
//! comes out is the backend's own shape with its provenance. Only members that a screen can use are
//! decoded, a member that every screen relies on is required, and a word that is new on the wire is borne.
//!
//! [`checkout`] is the one write whose steps are at two backends.
//!
//! A refusal that the caller can mend (402, 409, 422 on a write) is told with a code of the backend's own.

pub mod checkout;
pub mod inventory;
pub mod list;
pub mod money;
pub mod order;
pub mod payment;
pub mod playback;
pub mod product;
pub mod review;
pub mod timestamp;
pub mod user;

mod cache_policy;
mod error_mapping;
mod open_enum;

pub use list::{Batch, CursorPage, Items, NumberedPage};
pub use money::Money;
pub use timestamp::Timestamp;

/// Every code that is a backend's own.
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
