//! `containerd.services.introspection.v1.Introspection`: the daemon's parts, under the names that clients of containerd
//! look for.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use errors::{Context, Error, Kind, WithKind};
use filters::{Fields, Filters};
use flows::Rooms;
use prost_types::Any;
use proto_containerd::services::introspection as wire;
use proto_containerd::services::introspection::introspection_server::Introspection;
use proto_containerd::types::{Platform, RuntimeRequest};
use proto_containerd::unpack;
use task::Tasks;
use tonic::{Request, Response, Status};

use crate::Server;
use crate::status::refuse;

/// The part that runs shims: it alone has more to tell than its entry.
const RUNTIME: (&str, &str) = ("io.containerd.runtime.v2", "task");

pub(crate) struct IntrospectionService {
    server: Arc<Server>,
    plugins: Vec<wire::Plugin>,
    tasks: Tasks,
}

/// What a filter can ask of a plugin.
struct Filtered<'a>(&'a wire::Plugin);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["type"] => Some(self.0.r#type.clone()),
            ["id"] => Some(self.0.id.clone()),
            _ => None,
        }
    }
}

impl IntrospectionService {
    /// Lists what there is.
    pub(crate) fn new(server: Arc<Server>, rooms: &Rooms) -> IntrospectionService {
        let plugins = plugins(&server, &rooms.snapshotters.names());
        IntrospectionService { server, plugins, tasks: rooms.tasks.clone() }
    }

    /// What there is to tell of a part beyond its entry.
    async fn extra(&self, kind: &str, id: &str, options: &Any) -> errors::Result<Any> {
        let asked = || format!("decode {:?}", options.type_url);
        let request: Option<RuntimeRequest> = unpack(options).kind(Kind::InvalidArgument, asked)?;
        match request {
            Some(request) if (kind, id) == RUNTIME => {
                self.tasks.runtime_info(&request.runtime_path, request.options.as_ref()).await
            }
            _ => Err(Error::unimplemented(format!(
                "plugin {kind}.{id} has no further information for options of type {:?}",
                options.type_url
            ))),
        }
    }
}

/// The parts that filters let through.
fn selected(plugins: &[wire::Plugin], filters: &[String]) -> errors::Result<Vec<wire::Plugin>> {
    let filters = Filters::parse(filters)?;
    Ok(plugins.iter().filter(|plugin| filters.matches(&Filtered(plugin))).cloned().collect())
}

#[tonic::async_trait]
impl Introspection for IntrospectionService {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        let plugins = selected(&self.plugins, &request.into_inner().filters).map_err(refuse)?;
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<wire::ServerResponse>, Status> {
        let path = "/proc/self/ns/pid";
        let namespace = std::fs::metadata(path).context(|| format!("stat {path}")).map_err(refuse)?;
        Ok(Response::new(wire::ServerResponse {
            uuid: self.server.uuid.clone(),
            pid: std::process::id().into(),
            pidns: namespace.ino(),
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        let wire::PluginInfoRequest { r#type: kind, id, options } = request.into_inner();
        let plugin = self.plugins.iter().find(|plugin| plugin.r#type == kind && plugin.id == id);
        let plugin = plugin
            .ok_or_else(|| refuse(Error::not_found(format!("plugin {kind}.{id} not found: not found"))))?;
        let extra = match options {
            Some(options) => Some(self.extra(&kind, &id, &options).await.map_err(refuse)?),
            None => None,
        };
        Ok(Response::new(wire::PluginInfoResponse { plugin: Some(plugin.clone()), extra }))
    }
}

/// The parts in the order of containerd's layers, from the stores up to the services.
fn plugins(server: &Server, snapshotters: &[String]) -> Vec<wire::Plugin> {
    const METADATA: &str = "io.containerd.metadata.v1";
    const EVENT: &str = "io.containerd.event.v1";
    const SERVICE: &str = "io.containerd.service.v1";
    let root = |folder: &str| {
        BTreeMap::from([("root".to_owned(), server.root.join(folder).to_string_lossy().into_owned())])
    };
    let mut all = vec![wire::Plugin {
        exports: root("io.containerd.content.v1.content"),
        ..part("content.v1", "content", &[])
    }];
    for name in snapshotters {
        let exports = root(&format!("io.containerd.snapshotter.v1.{name}"));
        all.push(wire::Plugin { exports, ..on_this_machine(part("snapshotter.v1", name, &[])) });
    }
    all.push(part("metadata.v1", "sled", &["io.containerd.content.v1", "io.containerd.snapshotter.v1"]));
    all.push(on_this_machine(part("differ.v1", "walking", &[METADATA])));
    all.push(part("event.v1", "exchange", &[]));
    all.push(part("gc.v1", "scheduler", &[METADATA]));
    all.push(part("lease.v1", "manager", &[METADATA]));
    all.push(part("streaming.v1", "manager", &[METADATA]));
    all.push(on_this_machine(part("runtime.v2", "task", &[EVENT, METADATA])));
    // nerdctl asks for it before it takes `--restart`, and for what it can.
    all.push(wire::Plugin {
        capabilities: ["no", "always", "on-failure", "unless-stopped"].map(str::to_owned).to_vec(),
        ..part("internal.v1", "restart", &[EVENT, SERVICE])
    });
    all.push(part("transfer.v1", "local", &["io.containerd.lease.v1", METADATA, "io.containerd.differ.v1"]));
    for service in
        ["containers", "content", "diff", "images", "introspection", "namespaces", "snapshots", "tasks"]
    {
        all.push(part("service.v1", &format!("{service}-service"), &[METADATA]));
    }
    all.push(part("grpc.v1", "events", &[EVENT]));
    all.push(part("grpc.v1", "leases", &["io.containerd.lease.v1"]));
    all.push(part("grpc.v1", "streaming", &["io.containerd.streaming.v1"]));
    all.push(part("grpc.v1", "transfer", &["io.containerd.transfer.v1", "io.containerd.streaming.v1"]));
    all.push(part("grpc.v1", "healthcheck", &[]));
    all.push(part("grpc.v1", "version", &[]));
    for service in
        ["containers", "content", "diff", "images", "introspection", "namespaces", "snapshots", "tasks"]
    {
        all.push(part("grpc.v1", service, &[SERVICE]));
    }
    all
}

fn part(kind: &str, id: &str, requires: &[&str]) -> wire::Plugin {
    wire::Plugin {
        r#type: format!("io.containerd.{kind}"),
        id: id.to_owned(),
        requires: requires.iter().map(|&kind| kind.to_owned()).collect(),
        ..Default::default()
    }
}

/// For parts whose platforms clients ask for.
fn on_this_machine(mut plugin: wire::Plugin) -> wire::Plugin {
    plugin.platforms = vec![this_machine()];
    plugin
}

fn this_machine() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "x86" => ("386", ""),
        "aarch64" => ("arm64", ""),
        "arm" => ("arm", "v7"),
        "powerpc64" => ("ppc64le", ""),
        other => (other, ""),
    };
    Platform {
        os: std::env::consts::OS.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(filters: &[&str]) -> Vec<wire::Plugin> {
        let server = Server { root: "/r".into(), uuid: "u".into(), ..Default::default() };
        let all = plugins(&server, &["native".to_owned(), "overlayfs".to_owned()]);
        let filters: Vec<_> = filters.iter().map(|&text| text.to_owned()).collect();
        selected(&all, &filters).unwrap()
    }

    #[test]
    fn client_that_unpacks_finds_its_snapshotter() {
        let found = asked(&["type==io.containerd.snapshotter.v1, id==overlayfs"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].exports["root"], "/r/io.containerd.snapshotter.v1.overlayfs");
        assert!(asked(&["type==io.containerd.snapshotter.v1, id==zfs"]).is_empty());
    }

    #[test]
    fn buildkit_finds_a_runtime_with_a_platform() {
        let found = asked(&["type==io.containerd.runtime.v1", "type==io.containerd.runtime.v2"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "task");
        assert_eq!(found[0].platforms[0].os, "linux");
    }

    #[test]
    fn nerdctl_finds_the_policies_of_its_restarts() {
        let found = asked(&["id==restart"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].capabilities.iter().any(|policy| policy == "unless-stopped"));
    }
}
