//! Starts the partner gateway.

bff_core::main!(partner_bff::GATEWAY);
