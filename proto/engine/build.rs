//! Generates the engine API's messages, clients and servers; protox compiles, so no protoc is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files =
        ["containers", "images", "system", "traces"].map(|name| format!("runtimed/engine/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure().out_dir(out).compile_fds(descriptors)?;
    Ok(())
}
