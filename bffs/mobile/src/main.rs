//! Starts the mobile gateway.

bff_core::main!(mobile_bff::GATEWAY);
