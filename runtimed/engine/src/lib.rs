//! runtimed's own gRPC API: check, convert, call, map errors. Nothing is decided here.

mod caller;
mod config;
mod containers;
mod convert;
pub mod doors;
mod images;
mod names;
mod session;
mod stats;
mod system;
mod traces;

use std::sync::Arc;

use flows::Flows;
use proto_engine::v1::containers_server::ContainersServer;
use proto_engine::v1::images_server::ImagesServer;
use proto_engine::v1::system_server::SystemServer;
use proto_engine::v1::traces_server::TracesServer;
use tonic::service::RoutesBuilder;

pub use system::About;

/// The largest message either way, in bytes: containerd's.
const MESSAGE_LIMIT: usize = 16 << 20;

/// Adds the engine's services to a server.
pub fn add(routes: &mut RoutesBuilder, flows: Flows, about: About, traces: Arc<marks::Traces>) {
    let containers = containers::Service::new(flows.clone());
    let images = images::Service::new(flows.clone());
    let system = system::Service::new(flows, about);
    routes
        .add_service(
            ContainersServer::new(containers)
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT),
        )
        .add_service(
            ImagesServer::new(images)
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT),
        )
        .add_service(SystemServer::new(system))
        .add_service(TracesServer::new(traces::Service::new(traces)));
}
