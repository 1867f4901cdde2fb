//! Starts the tv gateway.

bff_core::main!(tv_bff::GATEWAY);
