//! containerd's gRPC API, and its events over ttrpc: check, convert, call, map errors.
//!
//! A file a service. Nothing is decided here that another front would have to decide as well. Services that are not
//! mounted (sandboxes, mounts) answer `Unimplemented`, as gRPC has it.

mod caller;
mod containers;
mod content;
mod convert;
mod diff;
mod events;
mod images;
mod introspection;
mod leases;
mod namespaces;
mod scratch;
mod sink;
mod snapshots;
mod status;
mod streaming;
mod tasks;
mod transfer;
mod version;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use flows::Rooms;
use proto_containerd::{MAX_MESSAGE_SIZE, services};
use tonic::service::{Routes, RoutesBuilder};

/// What the daemon says of itself.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// The version that clients adapt to. Clients such as nerdctl move images by Transfer once it is "2.0" or later.
    pub version: String,
    /// The revision the daemon was built from.
    pub revision: String,
    /// Made once for the daemon's root folder.
    pub uuid: String,
    /// The daemon's root folder.
    pub root: PathBuf,
}

/// Mounts every service with containerd's limit on messages, both ways.
macro_rules! mount {
    ($builder:ident, { $($wire:ident::$module:ident::$server:ident: $service:expr),+ $(,)? }) => {$(
        $builder.add_service(
            services::$wire::$module::$server::new($service)
                .max_decoding_message_size(MAX_MESSAGE_SIZE)
                .max_encoding_message_size(MAX_MESSAGE_SIZE),
        );
    )+};
}

/// The services of containerd's API, ready to be served.
pub fn routes(rooms: &Rooms, server: Server) -> Routes {
    let mut builder = Routes::builder();
    add_services(&mut builder, rooms, server);
    builder.routes()
}

/// Adds the services of containerd's API to what else is served on the same socket.
pub fn add_services(builder: &mut RoutesBuilder, rooms: &Rooms, server: Server) {
    let server = Arc::new(server);
    let streams = streaming::Streams::default();
    let plugins = introspection::IntrospectionService::new(server.clone(), rooms);
    mount!(builder, {
        version::version_server::VersionServer: version::VersionService(server),
        introspection::introspection_server::IntrospectionServer: plugins,
        namespaces::namespaces_server::NamespacesServer: namespaces::NamespacesService(rooms.namespaces.clone()),
        content::content_server::ContentServer: content::ContentService::new(rooms),
        images::images_server::ImagesServer: images::ImagesService::new(rooms),
        leases::leases_server::LeasesServer: leases::LeasesService::new(rooms),
        snapshots::snapshots_server::SnapshotsServer: snapshots::SnapshotsService::new(rooms),
        diff::diff_server::DiffServer: diff::DiffService(rooms.clone()),
        containers::containers_server::ContainersServer: containers::ContainersService::new(rooms),
        tasks::tasks_server::TasksServer: tasks::TasksService(rooms.clone()),
        events::events_server::EventsServer: events::EventsService::new(rooms),
        streaming::streaming_server::StreamingServer: streaming::StreamingService(streams.clone()),
        transfer::transfer_server::TransferServer: transfer::TransferService::new(rooms, streams),
    });
}

/// What the daemon's ttrpc socket serves: shims forward their events here.
pub fn ttrpc_services(rooms: &Rooms) -> HashMap<String, ttrpc::asynchronous::Service> {
    proto_shim::events_ttrpc::create_events(Arc::new(events::EventsService::new(rooms)))
}
