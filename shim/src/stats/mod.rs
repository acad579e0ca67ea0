//! Metrics of a container, read straight from its cgroup: no executor is started for them.

use errors::{Kind, Result, WithKind};
use proto_shim::{Any, pack};

use crate::cgroup::Cgroup;

mod v1;
mod v2;

/// One reading, in the message of the cgroup's version.
///
/// # Errors
/// NotFound if the cgroup is gone.
pub(crate) fn read(cgroup: &Cgroup) -> Result<Any> {
    match cgroup {
        Cgroup::V1(dirs) => pack(&v1::read(dirs)?),
        Cgroup::V2(dir) => pack(&v2::read(dir)?),
    }
    .kind(Kind::Internal, || "encode the metrics")
}
