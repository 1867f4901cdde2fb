//! The web's writes: one file each.

pub mod checkout;
