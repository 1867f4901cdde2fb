//! Compiles `proto/playback.proto` without a `protoc` on the machine: the messages alone, since the calls
//! go through the core.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/playback.proto");
    let files = protox::compile(["proto/playback.proto"], ["proto"])?;
    let messages = tonic_prost_build::configure()
        .build_client(false)
        .build_server(false);
    messages.compile_fds(files)?;
    Ok(())
}
