//! containerd's gRPC contract, version 1: every service with its client and server, the shared types, the events,
//! runc's options and the cgroup metrics that travel inside an `Any`.
//!
//! The `.proto` files under `proto/` are the source; the code is generated when the crate is built. Each package is
//! found under its own name ([`containerd::services::tasks::v1`]) and under a short one ([`services::tasks`]).
//! Maps are `BTreeMap`s, so that equal messages encode to equal bytes; blob data are `Bytes`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[allow(missing_docs, rustdoc::all, clippy::all)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

mod any;
#[cfg(test)]
mod fingerprint;
mod redact;
#[cfg(test)]
mod tests;

pub use any::{pack, unpack};
pub use packages::{containerd, google, io, runtimeoptions};

/// The largest message containerd's clients and servers send or accept, in bytes.
pub const MAX_MESSAGE_SIZE: usize = 16 << 20;

/// The services, without their version.
pub mod services {
    pub use crate::containerd::services::containers::v1 as containers;
    pub use crate::containerd::services::content::v1 as content;
    pub use crate::containerd::services::diff::v1 as diff;
    pub use crate::containerd::services::events::v1 as events;
    pub use crate::containerd::services::images::v1 as images;
    pub use crate::containerd::services::introspection::v1 as introspection;
    pub use crate::containerd::services::leases::v1 as leases;
    pub use crate::containerd::services::mounts::v1 as mounts;
    pub use crate::containerd::services::namespaces::v1 as namespaces;
    pub use crate::containerd::services::sandbox::v1 as sandbox;
    pub use crate::containerd::services::snapshots::v1 as snapshots;
    pub use crate::containerd::services::streaming::v1 as streaming;
    pub use crate::containerd::services::tasks::v1 as tasks;
    pub use crate::containerd::services::transfer::v1 as transfer;
    pub use crate::containerd::services::version::v1 as version;
}

/// What several services and the events share; [`types::task`] and [`types::transfer`] hold the larger families.
pub mod types {
    pub use crate::containerd::types::*;

    /// A task's processes as the Tasks service shows them.
    pub mod task {
        pub use crate::containerd::v1::types::*;
    }
}

/// The payloads of events, under whichever package they are named on the wire.
pub mod events {
    pub use crate::containerd::events::*;
    pub use crate::containerd::services::images::v1::{ImageCreate, ImageDelete, ImageUpdate};
}

/// What a client puts into a container's or a task's `options`.
pub mod options {
    /// Options of the `io.containerd.runc.v2` family of shims.
    pub mod runc {
        pub use crate::containerd::runc::v1::*;
    }

    /// Options for runtimes whose own options the sender does not know.
    pub mod generic {
        pub use crate::runtimeoptions::v1::*;
    }
}

/// What `Metric.data` holds, for either cgroup hierarchy.
pub mod metrics {
    pub use crate::io::containerd::cgroups::{v1, v2};
}
