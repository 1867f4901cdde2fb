//! The screens of the partner gateway, one file each. They do not depend on HTTP.

pub mod availability;
pub mod product;
pub mod products;
