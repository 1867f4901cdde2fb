//! The screens of the tv, one file each. They know no HTTP.

pub mod browse;
pub mod manifest;
pub mod resume;
pub mod tile;
pub mod title;
