//! The writes of the web gateway, one file each.

pub mod checkout;
