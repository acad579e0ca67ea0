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
        print!("{}", format.render(&[record(&info)]).map_err(Failure::Local)?);
        return Ok(0);
    }
    println!("Containers: {}", info.containers);
    println!(" Running: {}", info.running);
    println!(" Paused: {}", info.paused);
    println!(" Stopped: {}", info.stopped);
    println!("Images: {}", info.images);
    println!("Server Version: {}", info.version);
    println!("Storage Driver: {}", info.snapshotter);
    println!("Cgroup Driver: {}", info.cgroup_driver);
    println!("Cgroup Version: {}", info.cgroup_version);
    println!("Snapshotters: {}", info.snapshotters.join(" "));
    println!("Runtimes: {}", info.runtimes.join(" "));
    println!("Default Runtime: {}", info.runtime);
    println!("Kernel Version: {}", info.kernel);
    println!("Operating System: {}", info.operating_system);
    println!("OSType: {}", info.os);
    println!("Architecture: {}", info.arch);
    println!("CPUs: {}", info.cpus);
    println!("Total Memory: {}", binary_size(info.memory));
    println!("Name: {}", info.name);
    println!("ID: {}", info.id);
    println!("Root Dir: {}", info.root);
    println!("State Dir: {}", info.state);
    for warning in &info.warnings {
        eprintln!("WARNING: {warning}");
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
