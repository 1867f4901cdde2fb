//! The screens of the web gateway, one file each. They do not depend on HTTP.

pub mod card;
pub mod home;
pub mod me;
pub mod playback;
pub mod product;
pub mod search;
