//! `containerd.services.introspection.v1.Introspection`: the daemon's parts, under the names that clients of containerd
//! look for.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use errors::{Context, Error};
use filters::{Fields, Filters};
use proto_containerd::services::introspection as wire;
use proto_containerd::services::introspection::introspection_server::Introspection;
use proto_containerd::types::Platform;
use tonic::{Request, Response, Status};

use crate::Server;
use crate::status::refuse;

pub(crate) struct IntrospectionService {
    server: Arc<Server>,
    plugins: Vec<wire::Plugin>,
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
    /// Lists what there is; `snapshotters` are the names of those that work here.
    pub(crate) fn new(server: Arc<Server>, snapshotters: &[String]) -> IntrospectionService {
        let plugins = plugins(&server, snapshotters);
        IntrospectionService { server, plugins }
    }
}

#[tonic::async_trait]
impl Introspection for IntrospectionService {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        let filters = Filters::parse(&request.into_inner().filters).map_err(refuse)?;
        let plugins =
            self.plugins.iter().filter(|plugin| filters.matches(&Filtered(plugin))).cloned().collect();
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
        if let Some(options) = options {
            let message = format!(
                "plugin {kind}.{id} has no further information for options of type {:?}",
                options.type_url
            );
            return Err(refuse(Error::unimplemented(message)));
        }
        Ok(Response::new(wire::PluginInfoResponse { plugin: Some(plugin.clone()), extra: None }))
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

    fn service() -> IntrospectionService {
        let server = Server { root: "/r".into(), uuid: "u".into(), ..Default::default() };
        IntrospectionService::new(Arc::new(server), &["native".to_owned(), "overlayfs".to_owned()])
    }

    async fn asked(filters: &[&str]) -> Vec<wire::Plugin> {
        let filters = filters.iter().map(|&text| text.to_owned()).collect();
        service().plugins(Request::new(wire::PluginsRequest { filters })).await.unwrap().into_inner().plugins
    }

    #[tokio::test]
    async fn client_that_unpacks_finds_its_snapshotter() {
        let found = asked(&["type==io.containerd.snapshotter.v1, id==overlayfs"]).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].exports["root"], "/r/io.containerd.snapshotter.v1.overlayfs");
        assert!(asked(&["type==io.containerd.snapshotter.v1, id==zfs"]).await.is_empty());
    }

    #[tokio::test]
    async fn buildkit_finds_a_runtime_with_a_platform() {
        let found = asked(&["type==io.containerd.runtime.v1", "type==io.containerd.runtime.v2"]).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "task");
        assert_eq!(found[0].platforms[0].os, "linux");
    }

    #[tokio::test]
    async fn restart_is_not_promised() {
        assert!(asked(&["id==restart"]).await.is_empty());
    }

    #[tokio::test]
    async fn unknown_plugin_is_not_found() {
        let request = wire::PluginInfoRequest { r#type: "t".into(), id: "i".into(), options: None };
        let status = service().plugin_info(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::NotFound);
    }
}
