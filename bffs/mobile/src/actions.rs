//! The phone's writes: one file each.

pub mod checkout;
