//! The screens of the TV gateway, one file each. They do not depend on HTTP.

pub mod browse;
pub mod continue_watching;
pub mod manifest;
pub mod tile;
pub mod title;
