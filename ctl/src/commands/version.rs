//! `rctl version`.

use proto_engine::v1;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::format::Format;

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Format output: json or TEMPLATE
    #[arg(short, long, value_parser = |text: &str| Format::parse(text).map(|_| text.to_owned()))]
    format: Option<String>,
}

/// Shows the version of this program, and of the daemon if it answers.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    if let Some(format) = &args.format {
        let format = Format::parse(format).map_err(Failure::Usage)?;
        // Without a daemon its part is null, and the failure to reach it is told after what is known.
        let (server, failure) = match server(context).await {
            Ok(server) => (Some(server), None),
            Err(failure) => (None, Some(failure)),
        };
        raw!("{}", format.render(&[record(server.as_ref())]).map_err(Failure::Local)?);
        return failure.map_or(Ok(0), Err);
    }
    outln!("Client: rctl");
    outln!(" Version:        {}", env!("CARGO_PKG_VERSION"));
    outln!(" OS/Arch:        {}/{}", std::env::consts::OS, arch());
    outln!("");
    let server = server(context).await?;
    outln!("Server: runtimed");
    outln!(" Version:        {}", server.version);
    outln!(" Git commit:     {}", server.revision);
    outln!(" OS/Arch:        {}/{}", server.os, server.arch);
    outln!(" Kernel:         {}", server.kernel);
    outln!(" containerd API: {}", server.containerd_api);
    Ok(0)
}

async fn server(context: &Context) -> Result<v1::VersionResponse> {
    let client = context.client().await?;
    Ok(client.engine_system().version(v1::VersionRequest {}).await?.into_inner())
}

/// docker's fields.
fn record(server: Option<&v1::VersionResponse>) -> Value {
    json!({
        "Client": { "Version": env!("CARGO_PKG_VERSION"), "Os": std::env::consts::OS, "Arch": arch() },
        "Server": server.map(|server| json!({
            "Version": server.version,
            "GitCommit": server.revision,
            "Os": server.os,
            "Arch": server.arch,
            "KernelVersion": server.kernel,
            "ApiVersion": server.containerd_api,
        })),
    })
}

/// GOARCH, as the daemon and docker's users spell it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
