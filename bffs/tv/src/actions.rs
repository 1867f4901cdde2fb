//! The writes of the TV gateway, one file each. They do not depend on HTTP.

pub mod heartbeat;
