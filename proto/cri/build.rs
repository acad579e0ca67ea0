//! Compiles `proto/` with protox (no protoc needed) and generates messages, clients and servers.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;
use tonic_prost_build::Config;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/runtime/v1/api.proto"], ["proto"])?;

    // The unit tests read the contract back from here.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut config = Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .include_file("packages.rs")
        .emit_rerun_if_changed(false)
        // Equal messages encode to equal bytes.
        .btree_map(".")
        // Holds secrets: see `redact.rs`.
        .skip_debug([".runtime.v1.AuthConfig"])
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
