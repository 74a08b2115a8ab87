//! Compiles the protobuf files with protox: pure Rust, so no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "tokenbroker/v1/types.proto",
        "tokenbroker/v1/token.proto",
        "tokenbroker/v1/admin.proto",
        "tokenbroker/v1/node.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Server reflection serves this very set.
    fs::write(
        out.join("descriptors.bin"),
        protox::prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds(descriptors)?;

    // Somebody else's: what is not served is left out, and its comments are no documentation tests of ours.
    let mut csi = protox::compile(["csi/v1/csi.proto"], ["proto"])?;
    for file in &mut csi.file {
        file.service
            .retain(|service| matches!(service.name(), "Identity" | "Node"));
    }
    tonic_prost_build::configure()
        .build_transport(false)
        .disable_comments(["."])
        .generate_default_stubs(true)
        .compile_fds(csi)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .disable_comments(["."])
        .compile_fds(protox::compile(["pluginregistration/v1/api.proto"], ["proto"])?)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .disable_comments(["."])
        .compile_fds(protox::compile(["kms/v2/api.proto"], ["proto"])?)?;
    Ok(())
}
