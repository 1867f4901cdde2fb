//! The screens of the tv, one file each. They know no HTTP.

pub mod browse;
pub mod continue_watching;
pub mod manifest;
pub mod tile;
pub mod title;
