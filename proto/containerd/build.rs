//! Compiles every file under `proto/` with protox (no protoc needed) and generates messages, clients and servers.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;
use tonic_prost_build::Config;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", root.display());

    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [root])?;

    // The unit tests read the contract back from here.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    // Type names are what an `Any` carries.
    let mut config = Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .include_file("packages.rs")
        .emit_rerun_if_changed(false)
        // Equal messages encode to equal bytes.
        .btree_map(".")
        // Bulk data stays in the buffer it arrived in.
        .bytes(".containerd.services.content.v1.ReadContentResponse.data")
        .bytes(".containerd.services.content.v1.WriteContentRequest.data")
        .bytes(".containerd.types.transfer.Data.data")
        // Holds a secret: see `redact.rs`.
        .skip_debug([".containerd.types.transfer.AuthResponse"])
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
