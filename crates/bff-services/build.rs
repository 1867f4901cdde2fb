//! Compiles `proto/playback.proto` without a `protoc` on the machine: the messages alone, since the calls
//! go through the core.

/// Of a call that nobody makes yet.
const UNUSED: &str = "#[expect(dead_code, reason = \"nobody makes the call yet\")]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/playback.proto");
    let files = protox::compile(["proto/playback.proto"], ["proto"])?;
    let messages = tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .message_attribute(".playback.v1.HeartbeatRequest", UNUSED)
        .message_attribute(".playback.v1.HeartbeatReply", UNUSED);
    messages.compile_fds(files)?;
    Ok(())
}
