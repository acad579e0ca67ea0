//! The wire of a shim: ttrpc services (task v2 and v3, sandbox, events), the bootstrap messages, runtime
//! options, task events and cgroup metrics, generated from `proto/` as rust-protobuf messages without
//! reflection.
//!
//! Every service module has an async trait (`Task`, served with [`create_task`](task::v3::create_task) and
//! its like) and a client (`TaskClient`). Messages travel inside an [`Any`] under their full name without a
//! prefix ([`TypeUrl`]): this is how containerd names its own types.

mod type_url;

/// Metadata of a Create request by which this project's daemon asks this project's shim to start the container at once.
/// Others ignore it, and are asked by Start.
pub const START_HEADER: &str = "runtimed-start";

/// Metadata beside [`START_HEADER`]: the daemon deletes the container as soon as it has ended, whatever comes. So the shim
/// may begin with that before it is asked.
pub const CLEAR_HEADER: &str = "runtimed-clear";

pub use protobuf::well_known_types::any::Any;
pub use protobuf::well_known_types::empty::Empty;
pub use protobuf::well_known_types::timestamp::Timestamp;
pub use protobuf::{Enum, EnumOrUnknown, Message, MessageField};
pub use type_url::{TypeUrl, pack, unpack};

#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::unwrap_used, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

/// The task service: one container and the processes in it.
pub mod task {
    /// `containerd.task.v2.Task`, as containerd 1.3 to 1.7 and docker call it. The messages are those of
    /// [`v3`](super::v3).
    pub mod v2 {
        pub use crate::generated::task_v2_ttrpc::*;
        pub use crate::generated::task_v3::*;
    }
    /// `containerd.task.v3.Task`, as containerd 2.0 and later call it.
    pub mod v3 {
        pub use crate::generated::task_v3::*;
        pub use crate::generated::task_v3_ttrpc::*;
    }
}

/// `containerd.runtime.sandbox.v1.Sandbox`: a group of containers that share an environment.
pub mod sandbox {
    pub use crate::generated::sandbox_v1::*;
    pub use crate::generated::sandbox_v1_ttrpc::*;
}

/// `containerd.services.events.ttrpc.v1.Events`: how a shim hands the daemon its events.
pub mod events_ttrpc {
    pub use crate::generated::envelope::Envelope;
    pub use crate::generated::events_ttrpc::*;
    pub use crate::generated::events_ttrpc_ttrpc::*;
}

/// `containerd.runtime.bootstrap.v1`: what a daemon hands a starting shim, and what it answers.
pub mod bootstrap {
    pub use crate::generated::bootstrap_v1::*;
}

/// Runtime options: `containerd.runc.v1` (with the details of a process list) and `runtimeoptions.v1`.
pub mod options {
    pub use crate::generated::runc_options::*;
    /// `runtimeoptions.v1.Options`: a configuration file, or its text.
    pub use crate::generated::runtime_options::Options as RuntimeOptions;
}

/// `containerd.events.Task*`: the life of a task.
pub mod events {
    pub use crate::generated::task_events::*;
}

/// `containerd.types` and `containerd.v1.types`: what several services share.
pub mod types {
    pub use crate::generated::envelope::*;
    pub use crate::generated::introspection::*;
    pub use crate::generated::metric::*;
    pub use crate::generated::mount::*;
    pub use crate::generated::platform::*;
    pub use crate::generated::sandbox_record::*;
    pub use crate::generated::task::*;
}

/// Metrics of a container's cgroup.
pub mod metrics {
    /// `io.containerd.cgroups.v1.Metrics`.
    pub mod v1 {
        pub use crate::generated::cgroup_v1::*;
    }
    /// `io.containerd.cgroups.v2.Metrics`.
    pub mod v2 {
        pub use crate::generated::cgroup_v2::*;
    }
}
