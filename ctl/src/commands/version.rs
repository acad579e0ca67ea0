//! `rctl version`.

use proto_engine::v1;

use crate::context::Context;
use crate::failure::Result;

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the version of this program, and of the daemon if it answers.
pub async fn run(context: &Context, _: Args) -> Result<u8> {
    println!("Client: rctl");
    println!(" Version:        {}", env!("CARGO_PKG_VERSION"));
    println!(" OS/Arch:        {}/{}", std::env::consts::OS, arch());
    println!();
    let client = context.client().await?;
    let server = client.engine_system().version(v1::VersionRequest {}).await?.into_inner();
    println!("Server: runtimed");
    println!(" Version:        {}", server.version);
    println!(" Git commit:     {}", server.revision);
    println!(" OS/Arch:        {}/{}", server.os, server.arch);
    println!(" Kernel:         {}", server.kernel);
    println!(" containerd API: {}", server.containerd_api);
    Ok(0)
}

/// GOARCH, as the daemon and docker's users spell it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
