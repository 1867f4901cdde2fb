//! The screens of the partners, one file each. They know no HTTP.

pub mod availability;
pub mod product;
pub mod products;
