//! Between the shim's messages and the room's own types.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use prost_types::Any;
use proto_shim::task::v3;
use proto_shim::types::{Mount as WireMount, Status as WireStatus};
use proto_shim::{MessageField, Timestamp};

use crate::process::Seen;
use crate::types::{Checkpoint, Create, Exec, Exit, Io, Mount, Status};

pub(super) fn create(id: &str, bundle: &Path, create: &Create) -> v3::CreateTaskRequest {
    v3::CreateTaskRequest {
        id: id.to_owned(),
        bundle: bundle.to_string_lossy().into_owned(),
        rootfs: create.rootfs.iter().map(mount).collect(),
        terminal: create.io.terminal,
        stdin: create.io.stdin.clone(),
        stdout: create.io.stdout.clone(),
        stderr: create.io.stderr.clone(),
        checkpoint: checkpoint_path(&create.checkpoint),
        options: optional(create.options.as_ref()),
        ..Default::default()
    }
}

fn checkpoint_path(checkpoint: &Checkpoint) -> String {
    match checkpoint {
        Checkpoint::None => String::new(),
        Checkpoint::Theirs(path) | Checkpoint::Given(path) => path.to_string_lossy().into_owned(),
    }
}

pub(super) fn exec(id: String, exec: &Exec) -> v3::ExecProcessRequest {
    v3::ExecProcessRequest {
        id,
        exec_id: exec.exec_id.as_str().to_owned(),
        terminal: exec.io.terminal,
        stdin: exec.io.stdin.clone(),
        stdout: exec.io.stdout.clone(),
        stderr: exec.io.stderr.clone(),
        spec: optional(Some(&exec.spec)),
        ..Default::default()
    }
}

pub(super) fn kill(id: String, exec_id: &str, signal: u32, all: bool) -> v3::KillRequest {
    v3::KillRequest { id, exec_id: exec_id.to_owned(), signal, all, ..Default::default() }
}

pub(super) fn resize(id: String, exec_id: &str, width: u32, height: u32) -> v3::ResizePtyRequest {
    v3::ResizePtyRequest { id, exec_id: exec_id.to_owned(), width, height, ..Default::default() }
}

pub(super) fn close_io(id: String, exec_id: &str) -> v3::CloseIORequest {
    v3::CloseIORequest { id, exec_id: exec_id.to_owned(), stdin: true, ..Default::default() }
}

pub(super) fn checkpoint(id: String, path: &str, options: Option<&Any>) -> v3::CheckpointTaskRequest {
    v3::CheckpointTaskRequest { id, path: path.to_owned(), options: optional(options), ..Default::default() }
}

pub(super) fn update(
    id: String,
    resources: &Any,
    annotations: &BTreeMap<String, String>,
) -> v3::UpdateTaskRequest {
    v3::UpdateTaskRequest {
        id,
        resources: optional(Some(resources)),
        annotations: annotations.clone().into_iter().collect(),
        ..Default::default()
    }
}

pub(super) fn seen(state: &v3::StateResponse) -> Seen {
    let status = status(state.status.enum_value_or_default());
    Seen {
        pid: state.pid,
        status,
        io: Io {
            stdin: state.stdin.clone(),
            stdout: state.stdout.clone(),
            stderr: state.stderr.clone(),
            terminal: state.terminal,
        },
        // Before the end the shim sends the zero of its own clock.
        exit: (status == Status::Stopped).then(|| (state.exit_status, time(state.exited_at.as_ref()))),
    }
}

pub(crate) fn exit(answer: &v3::DeleteResponse) -> Exit {
    Exit { pid: answer.pid, status: answer.exit_status, at: time(answer.exited_at.as_ref()) }
}

pub(super) fn pids(answer: v3::PidsResponse) -> Vec<(u32, Option<Any>)> {
    answer.processes.into_iter().map(|process| (process.pid, process.info.into_option().map(ours))).collect()
}

pub(super) fn metrics(answer: v3::StatsResponse) -> Any {
    answer.stats.into_option().map(ours).unwrap_or_default()
}

/// A time of the wire; now, when there is none, or one before 1970, which no process has ended at.
pub(super) fn time(stamp: Option<&Timestamp>) -> SystemTime {
    stamp.and_then(moment).unwrap_or_else(SystemTime::now)
}

fn moment(stamp: &Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(stamp.seconds).ok().filter(|seconds| *seconds > 0)?;
    let nanos = u32::try_from(stamp.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

fn status(status: WireStatus) -> Status {
    match status {
        WireStatus::UNKNOWN => Status::Unknown,
        WireStatus::CREATED => Status::Created,
        WireStatus::RUNNING => Status::Running,
        WireStatus::STOPPED => Status::Stopped,
        WireStatus::PAUSED => Status::Paused,
        WireStatus::PAUSING => Status::Pausing,
    }
}

fn mount(mount: &Mount) -> WireMount {
    WireMount {
        type_: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
        ..Default::default()
    }
}

/// An `Any` in the shim's protobuf library.
pub(crate) fn theirs(any: &Any) -> proto_shim::Any {
    proto_shim::Any { type_url: any.type_url.clone(), value: any.value.clone(), ..Default::default() }
}

fn ours(any: proto_shim::Any) -> Any {
    Any { type_url: any.type_url, value: any.value }
}

fn optional(any: Option<&Any>) -> MessageField<proto_shim::Any> {
    any.map(theirs).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos, ..Default::default() }
    }

    #[test]
    fn times_carry_over_to_the_nanosecond() {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        assert_eq!(time(Some(&stamp(1_700_000_000, 123_456_789))), at);
    }

    #[test]
    fn times_that_cannot_be_are_not_believed() {
        // Go's zero time, and nonsense.
        for bad in [stamp(-62_135_596_800, 0), stamp(5, -1), stamp(i64::MAX, 0), stamp(0, 0)] {
            assert!(time(Some(&bad)) > SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
        }
    }

    #[test]
    fn a_state_before_the_end_has_no_exit() {
        let mut state = v3::StateResponse { pid: 9, exit_status: 0, ..Default::default() };
        state.status = WireStatus::RUNNING.into();
        state.exited_at = MessageField::some(stamp(-62_135_596_800, 0));
        assert_eq!(seen(&state).exit, None);
        state.status = WireStatus::STOPPED.into();
        state.exit_status = 3;
        state.exited_at = MessageField::some(stamp(1_700_000_000, 1));
        assert_eq!(seen(&state).exit.unwrap().0, 3);
    }

    #[test]
    fn an_any_survives_both_ways() {
        let any = Any { type_url: "a.B".into(), value: vec![1, 2] };
        assert_eq!(ours(theirs(&any)), any);
    }
}
