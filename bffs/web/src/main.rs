//! Starts the web gateway.

bff_core::main!(web_bff::GATEWAY);
