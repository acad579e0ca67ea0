//! Generates messages and services from `proto/`, without protoc.

use std::path::PathBuf;
use std::{env, fs, io};

use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

/// Every file but the services': messages alone.
const MESSAGES: &[&str] = &[
    "bootstrap_v1",
    "cgroup_v1",
    "cgroup_v2",
    "envelope",
    "introspection",
    "metric",
    "mount",
    "platform",
    "runc_options",
    "runtime_options",
    "sandbox_record",
    "task",
    "task_events",
];

/// Files that declare a service: for each, a second module `<name>_ttrpc`.
const SERVICES: &[&str] = &["events_ttrpc", "sandbox_v1", "task_v2", "task_v3"];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    Codegen::new()
        .out_dir(&out)
        .include("proto")
        .inputs(MESSAGES.iter().chain(SERVICES).map(|n| format!("proto/{n}.proto")))
        .rust_protobuf()
        // The shim is weighed in kilobytes: no descriptors, no reflection.
        .rust_protobuf_customize(ProtobufCustomize::default().lite_runtime(true))
        .customize(Customize { async_all: true, ..Default::default() })
        .run()?;
    fs::write(out.join("mod.rs"), index())
}

/// The list of generated modules. The generators' own index opens with inner attributes, which `include!` refuses.
fn index() -> String {
    let services = SERVICES.iter().map(|n| format!("pub mod {n}_ttrpc;\n"));
    let messages = MESSAGES.iter().chain(SERVICES).map(|n| format!("pub mod {n};\n"));
    messages.chain(services).collect()
}
