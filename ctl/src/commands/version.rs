//! `rctl version`.

use proto_engine::v1;

use crate::context::Context;
use crate::failure::Result;

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the version of this program, and of the daemon if it answers.
pub async fn run(context: &Context, _: Args) -> Result<u8> {
    outln!("Client: rctl");
    outln!(" Version:        {}", env!("CARGO_PKG_VERSION"));
    outln!(" OS/Arch:        {}/{}", std::env::consts::OS, arch());
    outln!("");
    let client = context.client().await?;
    let server = client.engine_system().version(v1::VersionRequest {}).await?.into_inner();
    outln!("Server: runtimed");
    outln!(" Version:        {}", server.version);
    outln!(" Git commit:     {}", server.revision);
    outln!(" OS/Arch:        {}/{}", server.os, server.arch);
    outln!(" Kernel:         {}", server.kernel);
    outln!(" containerd API: {}", server.containerd_api);
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
