//! The screens of the web, one file each. They know no HTTP.

pub mod card;
pub mod home;
pub mod me;
pub mod playback;
pub mod product;
pub mod search;
