//! Between the task room's types and the wire's.

use proto_containerd::services::tasks::DeleteResponse;
use proto_containerd::types;
use proto_containerd::types::task::Status as WireStatus;
use task::{Exit, Mount, Process, Status};

use crate::convert::timestamp;

/// A process as `Get` and `List` show it: an exec by its own id, the first process by the container's.
pub(super) fn process(process: Process) -> types::task::Process {
    let status = match process.status {
        Status::Unknown => WireStatus::Unknown,
        Status::Created => WireStatus::Created,
        Status::Running => WireStatus::Running,
        Status::Stopped => WireStatus::Stopped,
        Status::Paused => WireStatus::Paused,
        Status::Pausing => WireStatus::Pausing,
    };
    let container = process.id.to_string();
    types::task::Process {
        id: if process.exec_id.is_empty() { container.clone() } else { process.exec_id },
        container_id: container,
        pid: process.pid,
        status: status.into(),
        stdin: process.io.stdin,
        stdout: process.io.stdout,
        stderr: process.io.stderr,
        terminal: process.io.terminal,
        exit_status: process.exit.map(|exit| exit.status).unwrap_or_default(),
        exited_at: process.exit.and_then(|exit| timestamp(exit.at)),
    }
}

/// How a deleted process ended; `id` is empty for the first process.
pub(super) fn deleted(id: String, exit: Exit) -> DeleteResponse {
    DeleteResponse { id, pid: exit.pid, exit_status: exit.status, exited_at: timestamp(exit.at) }
}

pub(super) fn mounts(mounts: Vec<types::Mount>) -> Vec<Mount> {
    let convert = |mount: types::Mount| Mount {
        kind: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(convert).collect()
}
