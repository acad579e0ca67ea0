//! The service `System`: what people ask of the daemon itself.

use flows::{Flows, Phase};
use proto_engine::v1;
use proto_engine::v1::system_server::System;
use tonic::{Request, Response, Status};

use crate::caller::{namespace, status};

/// What the daemon knows of itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Its version.
    pub version: String,
    /// The revision it was built from.
    pub revision: String,
    /// The version that containerd's clients are told.
    pub containerd_api: String,
    /// Its id, made once for a root folder.
    pub id: String,
    /// Its root folder.
    pub root: String,
    /// Its state folder.
    pub state: String,
    /// The runtimes in its configuration.
    pub runtimes: Vec<String>,
}

/// The daemon over gRPC.
pub struct Service {
    flows: Flows,
    about: About,
}

impl Service {
    /// The service over `flows`.
    pub fn new(flows: Flows, about: About) -> Service {
        Service { flows, about }
    }
}

#[tonic::async_trait]
impl System for Service {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        Ok(Response::new(v1::VersionResponse {
            version: self.about.version.clone(),
            revision: self.about.revision.clone(),
            os: "linux".to_owned(),
            arch: go_arch().to_owned(),
            kernel: read_line("/proc/sys/kernel/osrelease"),
            containerd_api: self.about.containerd_api.clone(),
        }))
    }

    async fn info(&self, request: Request<v1::InfoRequest>) -> Result<Response<v1::InfoResponse>, Status> {
        let namespace = namespace(request.metadata())?;
        let lines = self.flows.list(&namespace).await.map_err(status)?;
        let images = self.flows.rooms().names.list(&namespace, &[]).map_err(status)?;
        let count = |phase| lines.iter().filter(|line| line.phase == phase).count() as u64;
        let settings = self.flows.settings();
        let about = self.about.clone();
        Ok(Response::new(v1::InfoResponse {
            id: about.id,
            name: read_line("/proc/sys/kernel/hostname"),
            version: about.version,
            root: about.root,
            state: about.state,
            snapshotter: settings.snapshotter.clone(),
            runtime: settings.runtime.clone(),
            containers: lines.len() as u64,
            running: count(Phase::Running),
            paused: count(Phase::Paused),
            stopped: count(Phase::Created) + count(Phase::Exited) + count(Phase::Dead),
            images: images.len() as u64,
            os: "linux".to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: read_line("/proc/sys/kernel/osrelease"),
            operating_system: os_name(),
            cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u32),
            memory: memory_total(),
            cgroup_version: cgroup_version(),
            cgroup_driver: "cgroupfs".to_owned(),
            runtimes: about.runtimes,
            snapshotters: self.flows.rooms().snapshotters.names(),
            warnings: Vec::new(),
        }))
    }
}

/// The machine's memory in bytes (proc_meminfo(5)); 0 when it cannot be told.
pub fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// 2 when cgroup v2 alone is mounted, as runc tells them apart.
fn cgroup_version() -> u32 {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 }
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}
