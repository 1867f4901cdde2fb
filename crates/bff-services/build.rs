//! Compiles the messages of `proto/playback.proto` without `protoc`. It generates no client: all calls go through
//! `bff-core`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/playback.proto");
    let files = protox::compile(["proto/playback.proto"], ["proto"])?;
    let messages = tonic_prost_build::configure()
        // It has a type of its own, which decodes each position alone.
        .extern_path(
            ".playback.v1.ListPositionsResponse",
            "crate::playback::RawPositions",
        )
        .build_client(false)
        .build_server(false);
    messages.compile_fds(files)?;
    Ok(())
}
