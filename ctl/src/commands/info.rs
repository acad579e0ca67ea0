//! `rctl info`.

use proto_engine::v1;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::format::Format;
use crate::output::time::binary_size;

/// Flags of `info`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Format output: json or TEMPLATE
    #[arg(short, long, value_parser = |text: &str| Format::parse(text).map(|_| text.to_owned()))]
    format: Option<String>,
}

/// Shows the daemon's settings and what it holds.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let info = client.engine_system().info(v1::InfoRequest {}).await?.into_inner();
    if let Some(format) = &args.format {
        let format = Format::parse(format).map_err(Failure::Usage)?;
        raw!("{}", format.render(&[record(&info)]).map_err(Failure::Local)?);
        return Ok(0);
    }
    outln!("Containers: {}", info.containers);
    outln!(" Running: {}", info.running);
    outln!(" Paused: {}", info.paused);
    outln!(" Stopped: {}", info.stopped);
    outln!("Images: {}", info.images);
    outln!("Server Version: {}", info.version);
    outln!("Storage Driver: {}", info.snapshotter);
    outln!("Cgroup Driver: {}", info.cgroup_driver);
    outln!("Cgroup Version: {}", info.cgroup_version);
    outln!("Snapshotters: {}", info.snapshotters.join(" "));
    outln!("Runtimes: {}", info.runtimes.join(" "));
    outln!("Default Runtime: {}", info.runtime);
    outln!("Kernel Version: {}", info.kernel);
    outln!("Operating System: {}", info.operating_system);
    outln!("OSType: {}", info.os);
    outln!("Architecture: {}", info.arch);
    outln!("CPUs: {}", info.cpus);
    outln!("Total Memory: {}", binary_size(info.memory));
    outln!("Name: {}", info.name);
    outln!("ID: {}", info.id);
    outln!("Root Dir: {}", info.root);
    outln!("State Dir: {}", info.state);
    for warning in &info.warnings {
        errln!("WARNING: {warning}");
    }
    Ok(0)
}

fn record(info: &v1::InfoResponse) -> Value {
    json!({
        "ID": info.id,
        "Containers": info.containers,
        "ContainersRunning": info.running,
        "ContainersPaused": info.paused,
        "ContainersStopped": info.stopped,
        "Images": info.images,
        "Driver": info.snapshotter,
        "CgroupDriver": info.cgroup_driver,
        "CgroupVersion": info.cgroup_version.to_string(),
        "Snapshotters": info.snapshotters,
        "Runtimes": info.runtimes,
        "DefaultRuntime": info.runtime,
        "KernelVersion": info.kernel,
        "OperatingSystem": info.operating_system,
        "OSType": info.os,
        "Architecture": info.arch,
        "NCPU": info.cpus,
        "MemTotal": info.memory,
        "Name": info.name,
        "ServerVersion": info.version,
        "RootDir": info.root,
        "StateDir": info.state,
        "Warnings": info.warnings,
    })
}
