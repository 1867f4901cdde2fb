//! What the tv does for somebody, one file each. They know no HTTP.

pub mod heartbeat;
