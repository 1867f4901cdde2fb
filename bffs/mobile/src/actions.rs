//! The writes of the mobile gateway, one file each.

pub mod checkout;
